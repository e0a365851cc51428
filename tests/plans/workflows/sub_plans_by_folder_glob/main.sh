#!/usr/bin/env bash
# Plans in all folders that a glob finds.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f one_part/one.txt ]] || exit 1
mkdir two_part
cp -p _two two_part/plan.py
stepup watch-update two_part/
stepup run
stepup wait
[[ -f two_part/two.txt ]] || exit 1
rm -r one_part/plan.py
sed -i 's/"[*]_part/"two_part/' plan.py
stepup watch-delete one_part/plan.py
stepup watch-update plan.py
stepup run
stepup wait
[[ ! -f one_part/one.txt ]] || exit 1
[[ -f two_part/two.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
