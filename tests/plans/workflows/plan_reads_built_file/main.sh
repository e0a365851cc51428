#!/usr/bin/env bash
# A plan reads a file that is built first, and declares a step for each of its lines.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f sub/a.out ]] || exit 1
[[ -f sub/b.out ]] || exit 1
printf 'c\nb\n' > names.txt
stepup watch-update names.txt
stepup run
stepup wait
[[ ! -f sub/a.out ]] || exit 1
[[ -f sub/b.out ]] || exit 1
[[ -f sub/c.out ]] || exit 1
# The order does not matter to the plan.
rm .stepup/success.log
printf 'b\nc\n' > names.txt
stepup watch-update names.txt
stepup run
stepup wait
! grep -q "START │ runsh echo" .stepup/success.log
[[ -f sub/c.out ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
