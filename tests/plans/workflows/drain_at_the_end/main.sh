#!/usr/bin/env bash
# A drained session ends with 3 although all is done.
set -e
unset STEPUP_ROOT

stepup boot -n 1 &
PID=$!
until [[ -e started ]]; do sleep 0.05; done
stepup drain
touch go

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 3 ]] || exit 1
