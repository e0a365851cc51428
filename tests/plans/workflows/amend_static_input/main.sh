#!/usr/bin/env bash
# A plan amends its own static input, which has it run again.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f ann.txt ]] || exit 1
[[ -f bob.txt ]] || exit 1
echo "bob cat" > names.txt
stepup watch-update names.txt
rm .stepup/success.log
stepup run
stepup wait
[[ ! -f ann.txt ]] || exit 1
[[ -f bob.txt ]] || exit 1
[[ -f cat.txt ]] || exit 1
! grep -q "runsh echo bob" .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
