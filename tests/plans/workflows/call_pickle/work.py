#!/usr/bin/env python3
from stepup.core.call import driver
def run(z):
    if isinstance(z, complex):
        return z * 2
    open("plain.txt", "w").write("plain")
if __name__ == "__main__":
    driver()
