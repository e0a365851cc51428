#!/usr/bin/env bash
# A step moves from one plan to another: it does not run again (StepUp 3.0 refuses it).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
sed -i '/runsh/d' sub/plan.py
echo 'runsh("echo x >> runs; echo 1 > one.txt", out="one.txt")' >> plan.py
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f one.txt ]] || exit 1
[[ $(wc -l < runs) -eq 1 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
