#!/usr/bin/env bash
# Nothing changed, nothing runs; touched files neither.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
cp -p c.txt before.txt
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
! grep -q -E "START|SKIP" .stepup/success.log
[[ ! -f .stepup/warning.log ]] || exit 1
touch a.txt c.txt plan.py
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

! grep -q -E "START|SKIP" .stepup/success.log
[[ ! -f .stepup/warning.log ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
