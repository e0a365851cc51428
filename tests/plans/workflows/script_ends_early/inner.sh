#!/usr/bin/env bash
set -e
trap 'kill $(pgrep -g $$ | grep -v $$) > /dev/null 2> /dev/null || :' EXIT
stepup boot -n 1 -w -e &
until [[ -e started ]]; do sleep 0.05; done
false
