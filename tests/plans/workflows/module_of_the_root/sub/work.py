#!/usr/bin/env python3
import os, sys
sys.path.append(os.environ['ROOT'])
import common
open('work.out', 'w').write(f'{common.value}\n')
