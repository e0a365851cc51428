#!/usr/bin/env bash
# Why a step runs again is told where it is asked.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
echo aa > a.txt
stepup watch-update a.txt
stepup run
stepup wait
grep -q "NOSKIP │ copy a.txt b.txt" .stepup/warning.log
grep -q "Changes causing rerun" .stepup/warning.log
grep -q "a.txt" .stepup/warning.log
stepup join
wait $PID
echo aaa > a.txt
stepup boot -n 1 > output.txt &
PID=$!
wait $PID
! grep -q NOSKIP output.txt
