#!/usr/bin/env bash
# A module that nobody declares has its step wait.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q "RESCHEDULE │ runpy ./work.py" .stepup/warning.log
grep -q helper.py .stepup/warning.log
# It is declared now.
sed -i 's/static("work.py")/static("work.py", "helper.py")/' plan.py
stepup watch-update plan.py
stepup run
stepup wait
grep -q "SUCCESS │ runpy ./work.py" .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
