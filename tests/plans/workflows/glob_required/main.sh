#!/usr/bin/env bash
# A glob that must match, and does not.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f .stepup/fail.log ]] || exit 1
grep -q "FAIL │ runpy ./plan.py" .stepup/fail.log
grep -q "FileNotFoundError" .stepup/fail.log
[[ ! -f after.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
