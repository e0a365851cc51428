#!/usr/bin/env bash
# Two steps of a pool of one never run together.
set -e
unset STEPUP_ROOT

stepup boot -n 3 -w -e &
PID=$!
stepup wait
stepup graph current_graph
stepup join
for i in 0 1 2; do [[ -f p$i.txt ]] || exit 1; done
[[ ! -e lock ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
