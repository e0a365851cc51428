#!/usr/bin/env bash
# A step fails; what depends on it waits, the rest goes on.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f fine.txt ]] || exit 1
[[ ! -f next.txt ]] || exit 1
[[ -f part.txt ]] || exit 1
[[ -f .stepup/fail.log ]] || exit 1
grep -q "FAIL │ runsh echo out" .stepup/fail.log
grep -q "Step info" .stepup/fail.log
grep -q "^Return code           7$" .stepup/fail.log
grep -q "Standard output" .stepup/fail.log
grep -q "^out$" .stepup/fail.log
grep -q "Standard error" .stepup/fail.log
grep -q "^err$" .stepup/fail.log
grep -q "1 step(s) failed." .stepup/warning.log
grep -q "1 step(s) remained pending" .stepup/warning.log
grep -q "Skipping file cleanup due to incomplete build" .stepup/warning.log
! grep -q FAIL .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
