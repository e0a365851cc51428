#!/usr/bin/env bash
# A second session in the same folder is refused, the first goes on.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
set +e
stepup boot -n 1 > second.txt 2>&1; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 1 ]] || exit 1
touch go
stepup wait
[[ -f one.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
