#!/usr/bin/env python3
from stepup.core.api import *
runsh("cat nowhere.txt > a.txt", inp="nowhere.txt", out="a.txt")
runsh("cat undeclared.txt > b.txt", inp="undeclared.txt", out="b.txt")
runsh("cat a.txt > c.txt", inp="a.txt", out="c.txt")
