#!/usr/bin/env bash
# A plan that reads a variable runs again when it changes.
set -e
unset STEPUP_ROOT

export WF_N=3
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f n2.txt ]] || exit 1
export WF_N=2
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f n2.txt ]] || exit 1
[[ -f n1.txt ]] || exit 1
! grep -q "runsh echo 0" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
