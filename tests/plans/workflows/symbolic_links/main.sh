#!/usr/bin/env bash
# Links to files and folders as inputs.
set -e
unset STEPUP_ROOT

ln -s real.txt link.txt
ln -s folder linked
stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q one a.out
grep -q x x.out
stepup join
wait $PID
echo two > real.txt
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q two a.out

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
