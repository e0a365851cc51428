#!/usr/bin/env python3
from stepup.core.call import driver
def run(n):
    return n * n
if __name__ == "__main__":
    driver()
