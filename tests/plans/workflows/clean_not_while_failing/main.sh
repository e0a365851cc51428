#!/usr/bin/env bash
# Nothing is cleaned before everything succeeds.
set -e
unset STEPUP_ROOT

touch ok
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
rm ok
sed -i '/a.txt/d' plan.py
sed -i 's/test -e ok/test -e ok # again/' plan.py
stepup boot -n 1 -w -e &
PID=$!
stepup wait
[[ -f a.txt ]] || exit 1
grep -q "Skipping file cleanup due to incomplete build" .stepup/warning.log
touch ok
stepup run
stepup wait
[[ ! -f a.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
