#!/usr/bin/env python3
from stepup.core.script import driver
def info():
    return {"static": "data.txt", "inp": ["data.txt"], "out": ["work.out"], "word": "hello"}
def run(inp, out, word):
    open(out[0], "w").write(word + " " + open(inp[0]).read())
if __name__ == "__main__":
    driver()
