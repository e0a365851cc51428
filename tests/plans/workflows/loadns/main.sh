#!/usr/bin/env bash
# Variables from four kinds of files; an edit has the plan run again.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ "$(cat ns.txt)" == "1 2 3 4" ]] || exit 1
echo "two = 20" > b.toml
stepup watch-update b.toml
stepup run
stepup wait
[[ "$(cat ns.txt)" == "1 20 3 4" ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
