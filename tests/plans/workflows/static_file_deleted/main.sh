#!/usr/bin/env bash
# A static file goes between two sessions, and comes back as it was.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
rm .stepup/*.log
mv a.txt saved
stepup boot -n 1 -w -e &
PID=$!
stepup wait
stepup join
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 3 ]] || exit 1
grep -q "Missing inputs" .stepup/warning.log
[[ -f b.txt ]] || exit 1
rm .stepup/*.log
mv saved a.txt
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q "SKIP │ copy a.txt b.txt" .stepup/success.log
! grep -q "START" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
