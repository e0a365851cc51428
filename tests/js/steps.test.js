import assert from "node:assert/strict";
import { test } from "node:test";
import { stepsFiltered, stepsNextSort, stepsSorted, stepsWindow } from "../../stepup_nb/notebook/panel/js/steps.js";
import { aboutOf, poolsOf, timeOf, verbOf } from "../../stepup_nb/notebook/panel/js/parts.js";
import { step } from "./given.js";

/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Step} Step */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").State} State */

/** @param {Step[]} steps */
const names = (steps) => steps.map(({ name }) => name);
/** @param {string} words @param {State[]} [states] @param {boolean} [hasDormant] */
const filter = (words, states = [], hasDormant = false) => ({ words, states: new Set(states), hasDormant });

const steps = [
  step("job 10", { seq: 2, state: "RUNNING", pool: { test: 1 }, started: 90 }),
  step("job 9", { seq: 1, state: "QUEUED", pool: { test: 1 }, reason: "pool test is full" }),
  step("Plot", { seq: 3, state: "SUCCEEDED", duration: 3, peak: 2e6 }),
  step("old", { seq: 4, state: "SUCCEEDED", dormant: true }),
];

test("all words of a filter have to be there, in label, state, pool or reason", () => {
  assert.deepEqual(names(stepsFiltered(steps, filter("test"))), ["job 10", "job 9"]);
  assert.deepEqual(names(stepsFiltered(steps, filter("  TEST full "))), ["job 9"]);
  assert.deepEqual(names(stepsFiltered(steps, filter("running"))), ["job 10"]);
});

test("a machine filters and sorts as any word does", () => {
  const placed = [step("a", { seq: 1, machine: "tls://10.0.0.20:1" }), step("b", { seq: 2, machine: "tls://10.0.0.3:1" }), step("c", { seq: 3 })];
  assert.deepEqual(names(stepsFiltered(placed, filter("10.0.0.3"))), ["b"]);
  assert.deepEqual(names(stepsSorted(placed, { column: "machine", isDown: false }, 0)), ["b", "a", "c"]);
});

test("several states show the steps in any of them", () => {
  assert.deepEqual(names(stepsFiltered(steps, filter("", ["SUCCEEDED", "QUEUED"]))), ["job 9", "Plot"]);
});

test("dormant steps show when they are asked for, whatever the states", () => {
  assert.deepEqual(names(stepsFiltered(steps, filter("", ["RUNNING"], true))), ["job 10", "old"]);
});

test("without a sort the order is that of declaration", () => {
  assert.deepEqual(names(stepsSorted(steps, null, 100)), ["job 9", "job 10", "Plot", "old"]);
});

test("numbers within labels sort as numbers, and case does not count", () => {
  assert.deepEqual(names(stepsSorted(steps, { column: "label", isDown: false }, 100)), ["job 9", "job 10", "old", "Plot"]);
});

test("what has no value comes last, up and down, and equal ones keep the order of declaration", () => {
  assert.deepEqual(names(stepsSorted(steps, { column: "time", isDown: true }, 100)), ["job 10", "Plot", "job 9", "old"]);
  assert.deepEqual(names(stepsSorted(steps, { column: "time", isDown: false }, 100)), ["Plot", "job 10", "job 9", "old"]);
});

test("a header goes from up to down to none", () => {
  const up = stepsNextSort(null, "pool");
  assert.deepEqual(up, { column: "pool", isDown: false });
  const down = stepsNextSort(up, "pool");
  assert.deepEqual(down, { column: "pool", isDown: true });
  assert.equal(stepsNextSort(down, "pool"), null);
  assert.deepEqual(stepsNextSort(down, "time"), { column: "time", isDown: false });
});

test("of 5,000 rows a screenful is drawn", () => {
  const [first, end] = stepsWindow(2600, 364, 5000);
  assert.ok(first <= 100 && end >= 114 && end - first < 30);
  assert.deepEqual(stepsWindow(0, 364, 3), [0, 3]);
  assert.deepEqual(stepsWindow(9999, 364, 0), [0, 0]);
});

test("time says how long a step runs, waits or took, or that it is up to date", () => {
  assert.equal(timeOf(steps[0], 102.7) + aboutOf(steps[0]), "12 s");
  assert.equal(aboutOf(step("x", { state: "RUNNING", expected: 30 })), " of about 30 s");
  assert.equal(timeOf(step("x", { state: "QUEUED", queued: 40 }), 105), "waits 1:05");
  assert.equal(timeOf(step("x", { state: "SUCCEEDED", skipped: true, duration: 3 }), 0), "up to date");
  assert.equal(timeOf(step("x", { state: "SUCCEEDED", duration: 3 }), 0), "3.0 s");
  assert.equal(timeOf(step("x", { state: "PENDING", duration: 3 }), 0), "");
});

test("a running step names its slots, another one what it asks for", () => {
  assert.equal(poolsOf(step("x", { state: "RUNNING", pool: { mem: 2 }, slots: { mem: [0, 3] } })), "mem · slot 0, 3");
  assert.equal(poolsOf(step("x", { pool: { mem: 2, lic: 1 } })), "mem × 2, lic");
});

test("what is not over can be cancelled, what is over rerun, what is dormant neither", () => {
  assert.equal(verbOf(step("x", { state: "CHECKING" })), "cancel");
  assert.equal(verbOf(step("x", { state: "CANCELLED" })), "rerun");
  assert.equal(verbOf(step("x", { state: "FAILED", dormant: true })), null);
});
