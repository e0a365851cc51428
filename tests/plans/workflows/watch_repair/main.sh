#!/usr/bin/env bash
# What failed is repaired while it watches.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f .stepup/fail.log ]] || exit 1
[[ ! -f final.out ]] || exit 1
sed -i -e 's/exit 3/exit 0/' -e 's/broken/fine/' work.sh
stepup watch-update work.sh
stepup run
stepup wait
[[ ! -f .stepup/fail.log ]] || exit 1
[[ "$(cat final.out)" == fine ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
