#!/usr/bin/env bash
# By hand: a chain over several folders.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
stepup clean ch2/sec2_1_x.txt
[[ -f ch2/sec2_1_x.txt ]] || exit 1
[[ ! -f ch2/sec2_1_x.md ]] || exit 1
[[ ! -f public/ch2.md ]] || exit 1
[[ -f public/ch1.md ]] || exit 1
stepup clean ./
[[ ! -f public/ch1.md ]] || exit 1
[[ ! -f ch1/sec1_1_x.md ]] || exit 1
[[ -f ch1/sec1_1_x.txt ]] || exit 1
