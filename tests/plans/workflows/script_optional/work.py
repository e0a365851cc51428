#!/usr/bin/env python3
from stepup.core.script import driver
CASE_FMT = "n{}"
def cases():
    return [1, 2]
def case_info(n):
    return {"out": [f"work{n}.out"], "n": n}
def run(out, n):
    open(out[0], "w").write(f"{n}\n")
if __name__ == "__main__":
    driver()
