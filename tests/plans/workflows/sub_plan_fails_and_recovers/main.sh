#!/usr/bin/env bash
# A plan in a folder fails after an edit; its steps are kept until it is repaired.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
cp sub/plan.py saved
echo 'oops(' >> sub/plan.py
stepup watch-update sub/plan.py
stepup run
stepup wait
[[ -f .stepup/fail.log ]] || exit 1
grep -q SyntaxError .stepup/fail.log
[[ -f sub/one.txt ]] || exit 1
cat saved > sub/plan.py
stepup watch-update sub/plan.py
stepup run
stepup wait
[[ ! -f .stepup/fail.log ]] || exit 1
[[ $(wc -l < sub/runs) -eq 1 ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
