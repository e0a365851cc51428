#!/usr/bin/env bash
# A step runs again when a module that its script imports changes.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q 11 work.out
echo "value = 2" > helper.py
stepup watch-update helper.py
stepup run
stepup wait
grep -q 12 work.out
echo "other = 20" > pkg/inner.py
stepup watch-update pkg/inner.py
stepup run
stepup wait
grep -q 22 work.out
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
