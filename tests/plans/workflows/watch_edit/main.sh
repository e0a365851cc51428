#!/usr/bin/env bash
# Edit, run, wait, and again.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ "$(cat all.out)" == $'a1\nb1' ]] || exit 1
stepup graph current_graph1
echo a2 > a.txt
stepup watch-update a.txt
stepup run
stepup wait
[[ "$(cat all.out)" == $'a2\nb1' ]] || exit 1
echo b3 > b.txt
echo a3 > a.txt
stepup watch-update a.txt
stepup watch-update b.txt
rm .stepup/success.log
stepup run
stepup wait
stepup graph current_graph2
[[ "$(cat all.out)" == $'a3\nb3' ]] || exit 1
! grep -q "runpy ./plan.py" .stepup/success.log
# Nothing changed.
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
