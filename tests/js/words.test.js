// How numbers are said.

import assert from "node:assert/strict";
import test from "node:test";
import { counted, duration, occupancy, roughly, size } from "../../stepup_nb/notebook/panel/js/words.js";

test("seconds", () => {
  const said = [-1, 0, 0.4, 0.994, 0.996, 9.94, 9.96, 59.4, 59.6, 185, 3599.6, 3723].map(duration);
  assert.deepEqual(said, ["0.00 s", "0.00 s", "0.40 s", "0.99 s", "1.0 s", "9.9 s", "10 s", "59 s", "1:00", "3:05", "1:00:00", "1:02:03"]);
});

test("seconds to come", () => {
  assert.deepEqual([0, 0.4, 0.96, 4.6, 9.96, 80].map(roughly), ["0.1 s", "0.4 s", "1 s", "5 s", "10 s", "1:20"]);
});

test("bytes", () => {
  assert.deepEqual([0, 12, 999, 1000, 9949, 46e6, 2e9, 64e9].map(size), ["0 B", "12 B", "999 B", "1.0 kB", "9.9 kB", "46 MB", "2.0 GB", "64 GB"]);
});

test("one and many", () => {
  assert.deepEqual([0, 1, 2].map((number) => counted(number, "slot")), ["0 slots", "1 slot", "2 slots"]);
});

test("what a pool's meter says", () => {
  const pool = { name: "test", size: 2, used: 2, waiting: 3, tokens: [], paused: false, reserved: null, queue: [], per_machine: false, machines: [] };
  assert.equal(occupancy(pool), "2 of 2 slots in use, 3 waiting");
  assert.equal(occupancy({ ...pool, size: 1, used: 1 }), "1 of 1 slot in use, 3 waiting");
  assert.equal(occupancy({ ...pool, size: null, waiting: 0 }), "2 slots in use, no limit, 0 waiting");
  assert.equal(occupancy({ ...pool, size: 0, used: 0 }), "closed, 3 waiting");
  assert.equal(occupancy({ ...pool, size: 0, used: 1 }), "closed, 1 slot still in use, 3 waiting");
  const each = { ...pool, per_machine: true, machines: [["10.0.0.3", 2], ["10.0.0.4", 0]] };
  assert.equal(occupancy(each), "2 of 4 slots in use on 2 machines, 3 waiting");
  assert.equal(occupancy({ ...each, size: null }), "2 slots in use on 2 machines, no limit, 3 waiting");
});
