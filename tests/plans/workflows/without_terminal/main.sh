#!/usr/bin/env bash
# In a sub-shell, with nothing to read from, into a file and into a pipe.
set -e
unset STEPUP_ROOT

(stepup boot -n 1 < /dev/null > output.txt 2>&1) && exit 1
grep -q "FAIL │ runsh test -e ok" output.txt
grep -q "^some words$" output.txt
touch ok
set -o pipefail
stepup boot -n 1 < /dev/null | cat > output.txt
grep -q "SUCCESS │ runsh test -e ok" output.txt
set +o pipefail
stepup boot -n 2 | head -1 > /dev/null
stepup boot -n 1 --no-progress > output.txt &
PID=$!
wait $PID
grep -q "^     PHASE │ run$" output.txt
