#!/usr/bin/env bash
# Long commands, other alphabets, and several lines.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ $(wc -c < long.txt) -eq 2001 ]] || exit 1
grep -q 日本語 ünï.txt
grep -q 日本語 "with blank.txt"
[[ "$(cat lines.txt)" == $'first\nsecond\nthird' ]] || exit 1
[[ "$(cat quotes.txt)" == "$HOME  it's" ]] || exit 1
grep -q 日本語 .stepup/success.log

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
