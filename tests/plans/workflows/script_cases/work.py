#!/usr/bin/env python3
from stepup.core.script import driver
CASE_FMT = "{name}_n{n:d}"
def cases():
    yield {"name": "ann", "n": 1}
    yield {"name": "bob", "n": 2}
def case_info(name, n):
    return {"out": f"{name}{n}.out", "name": name, "n": n}
def run(out, name, n):
    open(out if isinstance(out, str) else out[0], "w").write(f"{name} {n}\n")
if __name__ == "__main__":
    driver()
