#!/usr/bin/env bash
# Named wildcards over several folders.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat ann1.out)" == $'ann\n1' ]] || exit 1
[[ "$(cat bob2.out)" == $'bob\n2' ]] || exit 1
[[ ! -f cat1.out ]] || exit 1
[[ $(ls *.out | wc -l) -eq 2 ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
