#!/usr/bin/env bash
# The director is killed; the next session goes on where it was (StepUp 3.0 hangs until its workers are killed, too).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
kill -9 $(sed -n 's/^PID //p' .stepup/director.log)
touch go
set +e
wait $PID
set -e
[[ -f one.txt ]] || exit 1
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat two.txt)" == 1 ]] || exit 1
[[ $(wc -l < runs1) -eq 1 ]] || exit 1
[[ $(wc -l < runs2) -eq 2 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
