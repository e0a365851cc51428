#!/usr/bin/env bash
# A module that PYTHONPATH leads to.
set -e
unset STEPUP_ROOT

export PYTHONPATH="$PWD/lib"
stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q 1 work.out
echo "value = 2" > lib/common.py
stepup watch-update lib/common.py
stepup run
stepup wait
grep -q 2 work.out
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
