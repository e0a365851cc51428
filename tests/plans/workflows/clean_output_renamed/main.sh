#!/usr/bin/env bash
# An output gets another name, and the old one goes.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f old.txt ]] || exit 1
sed -i 's/old/new/g' plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ -f new.txt ]] || exit 1
[[ ! -f old.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
