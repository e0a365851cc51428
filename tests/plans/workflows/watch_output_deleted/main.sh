#!/usr/bin/env bash
# A built file is deleted while it watches.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
rm a.txt
stepup watch-delete a.txt
rm .stepup/success.log
stepup run
stepup wait
[[ -f a.txt ]] || exit 1
grep -q "START │ runsh echo a > a.txt" .stepup/success.log
grep -q "SKIP │ runsh cat a.txt > b.txt" .stepup/success.log
# An output that is edited is made anew.
echo edited > b.txt
stepup watch-update b.txt
stepup run
stepup wait
[[ "$(cat b.txt)" == a ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
