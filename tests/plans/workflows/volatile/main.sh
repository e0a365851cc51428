#!/usr/bin/env bash
# A volatile output is made, never needed, and cleaned with its step.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
[[ -f log.txt ]] || exit 1
stepup graph current_graph
grep -A1 "^file:log.txt" current_graph.txt | grep -q VOLATILE
cat > plan.py << EOF
#!/usr/bin/env python3
from stepup.core.api import *
EOF
stepup watch-update plan.py
stepup run
stepup wait
[[ ! -f out.txt ]] || exit 1
[[ ! -f log.txt ]] || exit 1
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
