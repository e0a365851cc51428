#!/usr/bin/env bash
# Outputs stay at the user's request, until it is another one.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
echo '#!/usr/bin/env python3' > plan.py
stepup boot -n 1 --no-clean
[[ -f a.txt ]] || exit 1
stepup boot -n 1 > output.txt &
PID=$!
wait $PID
[[ ! -f a.txt ]] || exit 1
grep -q "CLEAN │ a.txt" output.txt
