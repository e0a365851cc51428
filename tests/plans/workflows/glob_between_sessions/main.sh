#!/usr/bin/env bash
# Files that match a glob come and go between two sessions.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f a1.out ]] || exit 1
echo > src/b_2.txt
echo > src/c_33.txt
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f b2.out ]] || exit 1
[[ ! -f c33.out ]] || exit 1
! grep -q "copy src/a_1.txt" .stepup/success.log
rm src/a_1.txt
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f a1.out ]] || exit 1
[[ -f b2.out ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
