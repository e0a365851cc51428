#!/usr/bin/env bash
# Variables that are text, a path, a path relative to the root, and several paths.
set -e
unset STEPUP_ROOT

export WF_TEXT="some text"
export WF_PATH="./x/../x/y.txt"
export WF_ROOTED="a.txt"
export WF_MANY="a.txt:b.txt"
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat sub/out.txt)" == $'a\nb' ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
