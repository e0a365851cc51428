#!/usr/bin/env bash
# A session that is shut down lets the running step end.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
stepup shutdown
touch go

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 3 ]] || exit 1
