#!/usr/bin/env python3
from stepup.core.api import *
static("${WF_SRC}/", "$WF_SRC/${WF_NAME}.txt")
copy("${WF_SRC}/${WF_NAME}.txt", "${WF_NAME}.out")
