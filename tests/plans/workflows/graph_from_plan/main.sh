#!/usr/bin/env bash
# A plan writes the graph itself.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f current_plan.txt ]] || exit 1
[[ -f current_plan_provenance.dot ]] || exit 1
[[ -f current_plan_dependency.dot ]] || exit 1
grep -q "^step:runsh echo 1 > one.txt" current_plan.txt
grep -A1 "^step:runpy ./plan.py" current_plan.txt | grep -q RUNNING

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
