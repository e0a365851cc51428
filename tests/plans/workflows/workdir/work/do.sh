#!/usr/bin/env bash
cat inp.txt > out.txt
echo $HERE $ROOT >> out.txt
