#!/usr/bin/env bash
# A chain of optional steps runs as far as somebody needs it.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f a.txt ]] || exit 1
[[ -f b.txt ]] || exit 1
[[ ! -f c.txt ]] || exit 1
[[ -f used.txt ]] || exit 1
stepup graph current_graph
# Nobody needs it any more.
sed -i '/used.txt/d' plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ ! -f a.txt ]] || exit 1
[[ ! -f b.txt ]] || exit 1
[[ ! -f used.txt ]] || exit 1
# And again.
echo 'runsh("cat c.txt > final.txt", inp="c.txt", out="final.txt")' >> plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ -f c.txt ]] || exit 1
[[ -f final.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
