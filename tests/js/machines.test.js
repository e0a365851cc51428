// What machines are called.

import assert from "node:assert/strict";
import test from "node:test";
import { machinesHost, machinesNamed } from "../../stepup_nb/notebook/panel/js/machines.js";

test("a worker goes by its host, and by host and port where several share one", () => {
  const addresses = ["tls://10.0.0.3:41711", "tcp://10.0.0.4:1", "tcp://10.0.0.4:2", "tls://10.0.0.3:41711", ""];
  assert.deepEqual([...machinesNamed(addresses).values()], ["10.0.0.3", "10.0.0.4:1", "10.0.0.4:2"]);
});

test("the host is found in whatever a cluster calls its workers", () => {
  const addresses = ["", "tls://[FE80::1]:4000", "ucx://Node17.example.org:8788", "inproc://10.0.0.3/123/4", "worker-3", ":4000"];
  assert.deepEqual(addresses.map(machinesHost), ["", "fe80::1", "node17.example.org", "10.0.0.3", "worker-3", ":4000"]);
});
