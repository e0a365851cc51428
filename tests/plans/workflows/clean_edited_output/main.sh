#!/usr/bin/env bash
# An output that the user edited stays.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
echo mine > a.txt
echo '#!/usr/bin/env python3' > plan.py
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ "$(cat a.txt)" == mine ]] || exit 1
[[ ! -f b.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
