#!/usr/bin/env bash
# A folder with sources gets another name while it watches.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f src1_a.txt ]] || exit 1
mv src1 src2
stepup watch-delete src1/
stepup watch-update src2/
stepup run
stepup wait
[[ ! -f src1_a.txt ]] || exit 1
[[ -f src2_a.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
