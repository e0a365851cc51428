#!/usr/bin/env bash
# The shell's python3 is the system's, which knows neither StepUp nor stepup_nb.
set -e
unset STEPUP_ROOT

export PATH="$(dirname "$(command -v stepup)"):/usr/bin:/bin"
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q once work.txt
[[ -f again.txt ]] || exit 1
[[ "$(cat tool.json)" == 3 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
