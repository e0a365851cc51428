#!/usr/bin/env bash
echo broken
exit 3
