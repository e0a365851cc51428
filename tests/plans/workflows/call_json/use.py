#!/usr/bin/env python3
import json
found = json.load(open("work_out.json"))
open("use.txt", "w").write(f"{found['name']} {found['sum']}\n")
