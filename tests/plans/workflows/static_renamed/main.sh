#!/usr/bin/env bash
# A static file gets another name.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
mv old.txt new.txt
sed -i 's/old/new/g' plan.py
stepup watch-delete old.txt
stepup watch-update plan.py
stepup run
stepup wait
[[ -f copy.txt ]] || exit 1
[[ ! -f .stepup/fail.log ]] || exit 1
grep -q "START │ copy new.txt copy.txt" .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
