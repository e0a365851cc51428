#!/usr/bin/env bash
# A plan amends what a step of its own builds: it is put back, its step runs all the same.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f ann.out ]] || exit 1
[[ -f bob.out ]] || exit 1
grep -q "RESCHEDULE │ runpy ./plan.py" .stepup/warning.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
