#!/usr/bin/env bash
# A script that plans its own run.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat work.out)" == "hello data" ]] || exit 1
grep -q "runpy ./work.py plan" .stepup/success.log
grep -q "runpy ./work.py run" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
