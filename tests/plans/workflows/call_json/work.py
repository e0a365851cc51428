#!/usr/bin/env python3
from stepup.core.call import driver
def run(name, numbers):
    return {"name": name, "sum": sum(numbers)}
if __name__ == "__main__":
    driver()
