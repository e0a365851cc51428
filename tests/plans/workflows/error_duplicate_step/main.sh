#!/usr/bin/env bash
# One step twice.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q "already exists and is not orphan." .stepup/fail.log
grep -q "FAIL │ runpy ./plan.py" .stepup/fail.log
grep -q "1 step(s) failed." .stepup/warning.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
