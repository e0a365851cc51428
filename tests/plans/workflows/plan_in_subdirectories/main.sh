#!/usr/bin/env bash
# Plans two levels down, which use a file of the level above.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q common sub/local.txt
grep -q common sub/sub/deep.txt
grep -q common up.txt
grep -q "runpy ./plan.py  # wd=sub/sub/" .stepup/success.log
grep -q "runsh cat ../local.txt > deep.txt  # wd=sub/sub/" .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
