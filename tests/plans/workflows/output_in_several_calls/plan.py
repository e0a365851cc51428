#!/usr/bin/env python3
from stepup.core.api import *
static("data/")
ng = glob("data/${*kind}_${*n}.txt", n="[0-9]")
assert bool(ng)
assert len(list(ng)) == 3
assert sorted(str(p) for p in ng.files()) == ["data/a_1.txt", "data/a_2.txt", "data/b_1.txt"]
kinds = sorted({match.kind for match in ng})
assert kinds == ["a", "b"], kinds
for match in ng:
    assert match.mapping["kind"] == match.kind
    copy(match.single, f"{match.kind}{match.n}.out")
