#!/usr/bin/env bash
# There is no plan, one that cannot be run, and one that is no script.
set -e
unset STEPUP_ROOT

set +e
stepup boot -n 1; RETURNCODE=$?
[[ "${RETURNCODE}" -eq 1 ]] || exit 1
[[ ! -e .stepup/graph.db ]] || exit 1
echo '#!/usr/bin/env python3' > plan.py
stepup boot -n 1; RETURNCODE=$?
[[ "${RETURNCODE}" -eq 1 ]] || exit 1
echo 'import sys' > plan.py
chmod +x plan.py
stepup boot -n 1; RETURNCODE=$?
[[ "${RETURNCODE}" -eq 1 ]] || exit 1
exit 0
