#!/usr/bin/env bash
# A template with variables from a file and from the plan.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q "Dear Ann," letter.md
grep -q -- "- 4" letter.md
grep -q "^me$" letter.md

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
