#!/usr/bin/env bash
# A LaTeX template.
set -e
unset STEPUP_ROOT

stepup boot -n 1 -w -e &
PID=$!

stepup wait
grep -q 'section{Some Title}' out/doc.tex
grep -q 'yes {{ left alone }}' out/doc.tex
grep -q 'section{Other}' other.txt
echo "title: New Title" > vars.yaml
stepup watch-update vars.yaml
stepup run
stepup wait
grep -q 'section{New Title}' out/doc.tex
stepup join

# Wait for the background process, if any.
set +e
wait -fn $PID; RETURNCODE=$?
set -e
[[ "${RETURNCODE}" -eq 0 ]] || exit 1
