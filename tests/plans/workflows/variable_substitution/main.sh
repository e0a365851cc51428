#!/usr/bin/env bash
# Variables in paths; the plan depends on them.
set -e
unset STEPUP_ROOT

export WF_SRC=src1
export WF_NAME=ann
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
grep -q ann ann.out
rm .stepup/*.log
export WF_NAME=bob
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q bob bob.out
[[ ! -f ann.out ]] || exit 1
grep -q "START │ runpy ./plan.py" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
