#!/usr/bin/env bash
# A producer fails after an edit, its consumer keeps its output, and all is well again.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q 1 c.txt
echo bad > a.txt
stepup watch-update a.txt
stepup run
stepup wait
grep -q "FAIL │ runsh grep good" .stepup/fail.log
[[ -f c.txt ]] || exit 1
grep -q "1 step(s) remained pending" .stepup/warning.log
echo "good 2" > a.txt
stepup watch-update a.txt
stepup run
stepup wait
grep -q 2 c.txt
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
