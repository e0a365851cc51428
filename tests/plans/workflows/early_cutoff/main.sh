#!/usr/bin/env bash
# An edit that changes no output has the consumers skipped.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
rm .stepup/success.log
echo "# comment" >> a.txt
stepup watch-update a.txt
stepup run
stepup wait
grep -q "START │ runsh grep" .stepup/success.log
grep -q "SKIP │ runsh cat b.txt > c.txt" .stepup/success.log
! grep -q "START │ runsh cat" .stepup/success.log
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
