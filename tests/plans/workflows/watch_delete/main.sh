#!/usr/bin/env bash
# A static file goes and comes back while it watches.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
rm a.txt
stepup watch-delete a.txt
stepup run
stepup wait
[[ -f b.txt ]] || exit 1
grep -q "1 step(s) remained pending" .stepup/warning.log
echo a > a.txt
stepup watch-update a.txt
stepup run
stepup wait
grep -q "SKIP │ copy a.txt b.txt" .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
