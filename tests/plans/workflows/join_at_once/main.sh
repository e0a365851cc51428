#!/usr/bin/env bash
# Join right after boot (StepUp 3.0 may end before the last step).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup join
[[ -f two.txt ]] || exit 1
wait $PID
# And in a folder with a database.
sed -i 's/echo 1/echo 10/' plan.py
stepup boot -n 1 -w -e &
PID=$!
stepup join
[[ "$(cat two.txt)" == 10 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
