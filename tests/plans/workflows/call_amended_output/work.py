#!/usr/bin/env python3
from stepup.core.call import driver
def run(value):
    return value
if __name__ == "__main__":
    driver()
