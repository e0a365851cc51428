#!/usr/bin/env bash
# A folder that was made goes with what is in it.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f sub/deep/x.txt ]] || exit 1
echo user > mine/user.txt
cat > plan.py << EOF
#!/usr/bin/env python3
from stepup.core.api import runsh
runsh("echo z > z.txt", out="z.txt")
EOF
stepup watch-update plan.py
stepup run
stepup wait
[[ ! -e sub ]] || exit 1
[[ ! -f mine/y.txt ]] || exit 1
[[ -f mine/user.txt ]] || exit 1
[[ -f z.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
