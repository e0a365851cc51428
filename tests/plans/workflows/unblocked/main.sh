#!/usr/bin/env bash
# A step is not blocked any more.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ ! -f a.txt ]] || exit 1
sed -i 's/, block=True//' plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ -f b.txt ]] || exit 1
[[ ! -f .stepup/fail.log ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
