#!/usr/bin/env bash
# A drained session lets running steps end and starts no more.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

until [[ -e started ]]; do sleep 0.05; done
touch go
# It returns when nothing runs any more.
stepup drain
[[ -f n0.txt ]] || exit 1
[[ ! -f n20.txt ]] || exit 1
grep -q "Scheduler is put on hold. Not reporting pending steps." .stepup/warning.log
stepup wait
# The next run goes on.
stepup run
stepup wait
[[ -f n20.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
