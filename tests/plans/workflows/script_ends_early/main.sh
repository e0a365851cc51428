#!/usr/bin/env bash
# The script fails in the middle and kills its process group: no process is left.
set -e
unset STEPUP_ROOT

set +e
setsid --wait ./inner.sh; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 1 ]] || exit 1
