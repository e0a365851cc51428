#!/usr/bin/env python3
import common
open('work.out', 'w').write(f'{common.value}\n')
