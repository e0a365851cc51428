#!/usr/bin/env bash
# A variable changes between two sessions, and then goes.
set -e
unset STEPUP_ROOT

export WF_MODE=one
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
grep -q mode=one mode.txt
rm .stepup/*.log
export WF_MODE=two
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
grep -q mode=two mode.txt
! grep -q "echo same" .stepup/success.log
rm .stepup/*.log
unset WF_MODE
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ "$(cat mode.txt)" == "mode=" ]] || exit 1
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f .stepup/warning.log ]] || exit 1
! grep -q "START" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
