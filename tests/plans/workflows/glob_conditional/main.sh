#!/usr/bin/env bash
# A glob without a wildcard: only if the file is there.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q default used.txt
# The file comes up.
echo mine > config.txt
stepup watch-update config.txt
stepup run
stepup wait
grep -q mine used.txt
# And goes.
rm config.txt
stepup watch-delete config.txt
stepup run
stepup wait
grep -q default used.txt
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
