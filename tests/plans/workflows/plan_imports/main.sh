#!/usr/bin/env bash
# A plan imports a module of its own, and runs again when that changes.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f ann.txt ]] || exit 1
[[ -f bob.txt ]] || exit 1
echo "NAMES = ['bob', 'cat']" > names.py
stepup watch-update names.py
stepup run
stepup wait
[[ ! -f ann.txt ]] || exit 1
[[ -f bob.txt ]] || exit 1
[[ -f cat.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
