#!/usr/bin/env bash
# A step leaves the plan, and its outputs go.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f c.txt ]] || exit 1
sed -i '/b.txt/d' plan.py
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f a.txt ]] || exit 1
[[ ! -f b.txt ]] || exit 1
[[ ! -f c.txt ]] || exit 1
grep -q "CLEAN │ b.txt" .stepup/success.log
grep -q "CLEAN │ c.txt" .stepup/success.log
grep -q "Trying to delete 2 outdated output(s)" .stepup/success.log
! grep -q "START │ runsh" .stepup/success.log
! grep -q "file:b.txt" current_graph.txt

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
