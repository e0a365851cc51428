#!/usr/bin/env bash
# Join waits for what runs, and for what is still to run.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
(sleep 0.2; touch go) &
stepup join
[[ -f one.txt ]] || exit 1
[[ -f two.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
