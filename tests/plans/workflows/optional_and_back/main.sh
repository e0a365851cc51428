#!/usr/bin/env bash
# A step becomes optional, and mandatory again.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f a.txt ]] || exit 1
sed -i 's/optional=False/optional=True/' plan.py
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ ! -f a.txt ]] || exit 1
sed -i 's/optional=True/optional=False/' plan.py
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f a.txt ]] || exit 1
[[ $(wc -l < runs) -eq 2 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
