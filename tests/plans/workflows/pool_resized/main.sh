#!/usr/bin/env bash
# Another size of a pool has only the plan run again.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
rm .stepup/success.log
sed -i 's/"some", 1/"some", 2/' plan.py
stepup watch-update plan.py
stepup run
stepup wait
grep -q "START │ runpy ./plan.py" .stepup/success.log
! grep -q "echo a" .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
