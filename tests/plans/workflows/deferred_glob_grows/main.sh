#!/usr/bin/env bash
# More of what a deferred glob matches is used later.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f a.out ]] || exit 1
echo 'copy("data/sub/b.txt", "b.out")' >> plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ -f b.out ]] || exit 1
echo bb > data/sub/b.txt
stepup watch-update data/sub/b.txt
stepup run
stepup wait
grep -q bb b.out
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
