#!/usr/bin/env bash
# Steps come into and go out of the plan, in several cycles.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f sub/sub.txt ]] || exit 1
echo 'runsh("cat sub.txt > more.txt", inp="sub.txt", out="more.txt")' >> sub/plan.py
stepup watch-update sub/plan.py
stepup run
stepup wait
[[ -f sub/more.txt ]] || exit 1
sed -i '/sub/d' plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ -f top.txt ]] || exit 1
[[ ! -f sub/sub.txt ]] || exit 1
[[ ! -f sub/more.txt ]] || exit 1
[[ -f sub/plan.py ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
