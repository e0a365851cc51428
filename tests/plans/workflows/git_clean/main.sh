#!/usr/bin/env bash
# In a repository, git removes what is ignored.
set -e
unset STEPUP_ROOT

mv _gitignore .gitignore
git init -q .
git add .
export HOME_RUNS=runs
git clean -qdfX .
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

wait $PID
[[ -f one.txt ]] || exit 1
[[ -z "$(git status --porcelain --ignored | grep -v -e .stepup -e one.txt -e current -e runs -e '^A ')" ]] || exit 1
git clean -qdfX .
[[ ! -e .stepup ]] || exit 1
[[ ! -e one.txt ]] || exit 1
stepup boot -n 1 -w -e &
PID=$!

# Wait until there is nothing to do, write the graph, and end.
stepup wait
stepup graph current_graph
stepup join

[[ -f one.txt ]] || exit 1

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
