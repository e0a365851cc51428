#!/usr/bin/env bash
# The project is in another folder: by an option and by a variable.
set -e
unset STEPUP_ROOT

stepup --root project boot -n 1 &
PID=$!
wait $PID
[[ -f project/one.txt ]] || exit 1
[[ -d project/.stepup ]] || exit 1
[[ ! -e .stepup ]] || exit 1
sed -i 's/one/two/g' project/plan.py
export STEPUP_ROOT="$PWD/project"
mkdir elsewhere
cd elsewhere
stepup boot -n 1 -w -e &
PID=$!
stepup wait
stepup join
[[ ! -f ../project/one.txt ]] || exit 1
[[ -f ../project/two.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
