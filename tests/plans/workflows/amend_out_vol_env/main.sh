#!/usr/bin/env bash
# Amended outputs, volatiles and variables are tracked as declared ones are.
set -e
unset STEPUP_ROOT

export WF_MODE=first
stepup boot -n 1 -w -e &
PID=$!
stepup wait
stepup graph current_graph
stepup join
wait $PID
grep -q first second.txt
[[ -f made.log ]] || exit 1
export WF_MODE=second
rm .stepup/*.log
stepup boot -n 1 -w -e &
PID=$!
stepup wait
stepup join
grep -q second second.txt

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
