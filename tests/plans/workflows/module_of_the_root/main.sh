#!/usr/bin/env bash
# A script in a folder imports a module of the root.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q 1 sub/work.out
echo "value = 2" > common.py
stepup watch-update common.py
stepup run
stepup wait
grep -q 2 sub/work.out
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
