#!/usr/bin/env bash
# What was static is built from now on, and the other way round (StepUp 3.0 does not run what reads them).
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
grep -q "by hand" b.txt
cat > plan.py << EOF
#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo built > a.txt", out="a.txt")
copy("a.txt", "b.txt")
static("c.txt")
copy("c.txt", "d.txt")
EOF
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

grep -q built b.txt
[[ -f c.txt ]] || exit 1
[[ -f d.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
