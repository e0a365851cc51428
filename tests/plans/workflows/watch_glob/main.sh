#!/usr/bin/env bash
# Files that match a glob come and go while it watches.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f a.out ]] || exit 1
echo b > src/b.txt
stepup watch-update src/b.txt
rm .stepup/success.log
stepup run
stepup wait
[[ -f b.out ]] || exit 1
grep -q "START │ runpy ./plan.py" .stepup/success.log
! grep -q "copy src/a.txt" .stepup/success.log
rm src/a.txt
stepup watch-delete src/a.txt
stepup run
stepup wait
[[ ! -f a.out ]] || exit 1
[[ -f b.out ]] || exit 1
stepup graph current_graph
! grep -q "src/a.txt" current_graph.txt
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
