#!/usr/bin/env bash
# Sources beside the project: static, by a glob, and edited.
set -e
unset STEPUP_ROOT

cd project
stepup boot -n 1 -w -e &
PID=$!

stepup wait
stepup graph current_graph
[[ -f a.txt ]] || exit 1
[[ -f b.txt ]] || exit 1
echo c > ../source/c.txt
echo aa > ../source/a.txt
stepup watch-update ../source/c.txt
stepup watch-update ../source/a.txt
stepup run
stepup wait
grep -q aa a.txt
[[ -f c.txt ]] || exit 1
rm ../source/b.txt
stepup watch-delete ../source/b.txt
stepup run
stepup wait
[[ ! -f b.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
