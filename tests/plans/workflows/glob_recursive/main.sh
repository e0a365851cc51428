#!/usr/bin/env bash
# Two stars go to any depth.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(sort all.txt | tr -d '\n')" == "123" ]] || exit 1
grep -q "runsh cat data/a/b/x.txt" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
