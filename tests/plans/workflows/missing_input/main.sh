#!/usr/bin/env bash
# An input that nobody builds nor declares.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ ! -f a.txt ]] || exit 1
[[ ! -f b.txt ]] || exit 1
[[ ! -f c.txt ]] || exit 1
grep -q "3 step(s) remained pending due to incomplete requirements" .stepup/warning.log
grep -q "Orphaned inputs" .stepup/warning.log
grep -q nowhere.txt .stepup/warning.log
grep -q "PENDING Step" .stepup/warning.log
[[ ! -f .stepup/fail.log ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 3 ]] || exit 1
