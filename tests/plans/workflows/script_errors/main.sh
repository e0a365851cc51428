#!/usr/bin/env bash
# Scripts without a first line, or not to be executed, and commands that are not there.
set -e
unset STEPUP_ROOT

chmod +x bare.sh
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ $(grep -c "Script does not start with a shebang" .stepup/fail.log) -eq 2 ]] || exit 1
grep -q "^Return code           127$" .stepup/fail.log
grep -q "^Return code           44$" .stepup/fail.log
grep -q "^Return code           -9$" .stepup/fail.log
grep -q "5 step(s) failed." .stepup/warning.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 2 ]] || exit 1
