#!/usr/bin/env bash
# What is local is said by a variable.
set -e
unset STEPUP_ROOT

export STEPUP_PATH_FILTER="-other:-venv"
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q 3 work.out
[[ ! -f .stepup/warning.log ]] || exit 1
grep -q "file:mine/a.py" current_graph.txt
! grep -q "file:other/b.py" current_graph.txt

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
