#!/usr/bin/env bash
# The graph is written while a step runs.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
stepup graph current_running
touch go
stepup wait
stepup graph current_done
stepup join
grep -A1 "^step:runsh touch" current_running.txt | grep -q RUNNING
grep -A1 "^file:one.txt" current_running.txt | grep -q AWAITED
grep -A1 "^step:runsh touch" current_done.txt | grep -q SUCCEEDED
grep -A1 "^file:one.txt" current_done.txt | grep -q BUILT

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
