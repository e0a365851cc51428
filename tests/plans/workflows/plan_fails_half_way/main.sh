#!/usr/bin/env bash
# A plan fails half-way, and is repaired: nothing runs twice.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
sed -i '/two/d' plan.py
echo 'raise RuntimeError("oops")' >> plan.py
stepup boot -n 1 -w -e &
PID=$!
stepup wait
stepup join
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
[[ -f one.txt ]] || exit 1
[[ -f two.txt ]] || exit 1
sed -i '/oops/d' plan.py
echo 'runsh("echo x >> runs2; echo 2 > two.txt", out="two.txt")' >> plan.py
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ $(wc -l < runs1) -eq 1 ]] || exit 1
[[ $(wc -l < runs2) -eq 1 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
