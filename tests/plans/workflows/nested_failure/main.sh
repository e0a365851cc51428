#!/usr/bin/env bash
# A plan in a folder fails.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f top.txt ]] || exit 1
grep -q "FAIL │ runpy ./plan.py  # wd=sub/" .stepup/fail.log
grep -q "^Return code           5$" .stepup/fail.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
