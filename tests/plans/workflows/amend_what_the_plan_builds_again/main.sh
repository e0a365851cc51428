#!/usr/bin/env bash
# A plan amends what a step of its own builds, and that, or the plan, or both change.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f ann.out ]] || exit 1
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
! grep -q START .stepup/success.log
echo "bob cat" > a.txt
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ ! -f ann.out ]] || exit 1
[[ -f cat.out ]] || exit 1
echo "# edited" >> plan.py
stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f cat.out ]] || exit 1
echo "# edited" >> plan.py
echo "dan" > a.txt
stepup watch-update a.txt
stepup watch-update plan.py
stepup run
stepup wait
[[ -f dan.out ]] || exit 1
[[ ! -f cat.out ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
