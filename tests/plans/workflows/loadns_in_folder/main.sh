#!/usr/bin/env bash
# Variables of a Python file in another folder, with a module of its own.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q 5 v.txt
echo "value = 6" > conf/helper.py
stepup watch-update conf/helper.py
stepup run
stepup wait
grep -q 6 v.txt
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
