#!/usr/bin/env python3
from mine.a import value as one
from other.b import value as two
open('work.out', 'w').write(f'{one + two}\n')
