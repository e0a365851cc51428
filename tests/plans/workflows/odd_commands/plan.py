#!/usr/bin/env python3
from stepup.core.api import *
runsh("echo " + "x" * 2000 + " > long.txt", out="long.txt")
runsh("echo 'größer — 日本語 🙂' > ünï.txt", out="ünï.txt")
runsh("cat > lines.txt << EOF\nfirst\nsecond\nEOF\necho third >> lines.txt", out="lines.txt")
runsh("cat ${inp} > 'with blank.txt'", inp=["ünï.txt"], out="with blank.txt")
runsh("printf '\\377\\000\\033[31mred\\n'; printf 'a\\rb\\n' >&2")
runsh("echo \"$HOME ${NOPE} it's\" > quotes.txt", out="quotes.txt")
