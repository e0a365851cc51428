#!/usr/bin/env bash
# Optional steps of a script run when they are needed (StepUp 3.0 never plans them).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f needed.out ]] || exit 1
[[ -f work2.out ]] || exit 1
[[ ! -f work1.out ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
