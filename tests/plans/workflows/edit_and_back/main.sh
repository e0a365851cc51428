#!/usr/bin/env bash
# A file that is edited and put back has nothing run.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
echo other > a.txt
stepup watch-update a.txt
echo a > a.txt
stepup watch-update a.txt
rm .stepup/success.log
stepup run
stepup wait
! grep -q START .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
