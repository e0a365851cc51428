#!/usr/bin/env bash
# A script that goes on after a missing amended input is put back all the same (StepUp 3.0 forgets that).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q late work.out
grep -q RESCHEDULE .stepup/warning.log
