#!/usr/bin/env bash
# A result that the script decides to write.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f yes_out.json ]] || exit 1
[[ ! -f no_out.json ]] || exit 1
[[ "$(cat result.json)" == "1" ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
