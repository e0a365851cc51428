#!/usr/bin/env python3
from stepup.core.script import driver
def info():
    return {"inp": "sub/work.json", "out": "tool.out"}
def run(inp, out):
    open(out, "w").write("tool " + open(inp).read())
if __name__ == "__main__":
    driver()
