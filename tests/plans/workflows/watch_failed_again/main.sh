#!/usr/bin/env bash
# What failed runs again with the next run, although nothing changed.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
stepup run
stepup wait
[[ $(wc -l < runs) -eq 2 ]] || exit 1
touch ok
stepup run
stepup wait
[[ $(wc -l < runs) -eq 3 ]] || exit 1
stepup run
stepup wait
[[ $(wc -l < runs) -eq 3 ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
