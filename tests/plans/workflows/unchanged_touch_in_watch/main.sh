#!/usr/bin/env bash
# A file that is touched while it watches has nothing run.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
touch a.txt
stepup watch-update a.txt
rm .stepup/success.log
stepup run
stepup wait
! grep -q START .stepup/success.log
! grep -q SKIP .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
