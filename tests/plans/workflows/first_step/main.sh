#!/usr/bin/env bash
# One step, from plan to file.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f hello.txt ]] || exit 1
grep -q First hello.txt
[[ -f current_graph.txt ]] || exit 1
[[ -f current_graph_provenance.dot ]] || exit 1
[[ -f current_graph_dependency.dot ]] || exit 1
grep -q "SUCCESS │ runsh echo First StepUp Example > hello.txt" .stepup/success.log
[[ ! -f .stepup/fail.log ]] || exit 1
[[ ! -f .stepup/warning.log ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
