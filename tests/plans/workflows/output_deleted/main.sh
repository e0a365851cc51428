#!/usr/bin/env bash
# A deleted output is made again, and what was made of it is skipped.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
rm a.txt .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f a.txt ]] || exit 1
grep -q "START │ runsh echo a > a.txt" .stepup/success.log
grep -q "SKIP │ runsh cat a.txt" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
