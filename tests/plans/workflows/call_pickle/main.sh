#!/usr/bin/env bash
# Arguments that JSON does not hold go through a file.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f case_inp.pickle ]] || exit 1
[[ -f case_out.pickle ]] || exit 1
[[ -f json_inp.json ]] || exit 1
python3 -c 'import pickle; assert pickle.load(open("case_out.pickle", "rb")) == 2+4j'
[[ -f plain.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
