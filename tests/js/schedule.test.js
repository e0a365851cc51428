import assert from "node:assert/strict";
import { test } from "node:test";
import {
  scheduleClock,
  scheduleMost,
  schedulePacked,
  scheduleRows,
  scheduleSeen,
  scheduleSpan,
  scheduleStart,
  scheduleTicks,
} from "../../stepup_nb/notebook/panel/js/schedule.js";
import { timelineWords } from "../../stepup_nb/notebook/panel/js/timeline.js";
import { job, step } from "./given.js";

/** @typedef {import("../../stepup_nb/notebook/panel/js/schedule.js").Bar} Bar */
/** @typedef {import("../../stepup_nb/notebook/panel/js/schedule.js").Row} Row */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Pool} Pool */

/** @type {Pool} */
const pool = { name: "test", size: 2, used: 0, waiting: 0, tokens: [], paused: false, reserved: null, queue: [], per_machine: false, machines: [] };
const wanted = { jobs: [job(1, 0, 2)], waiting: [step("w")].slice(1), pools: [pool], workers: 2, by: /** @type {const} */ ("pool"), hasWaits: true, isFar: false, since: 0 };

/** @param {string} key @param {number} from @param {number|null} to @param {Partial<Bar>} [fields] @returns {Bar} */
const bar = (key, from, to, fields = {}) => ({ key, step: key, job: null, from, to, state: "SUCCEEDED", isWait: false, count: 1, ...fields });

/** Rows in words: "test slot 0: 1 2". @param {Row[]} rows */
const said = (rows) => rows.map(({ group, name, lanes }) => `${group} ${name}: ${lanes.map((lane) => lane.map(({ key }) => key).join(" ")).join(" / ")}`);

test("the current run begins after the last long pause", () => {
  assert.equal(scheduleStart([job(1, 0, 5), job(2, 5000, 5001), job(3, 5400, 5500)], []), 5000);
  assert.equal(scheduleStart([], []), null);
});

test("a long job is no pause, and a step that waits begins a run", () => {
  assert.equal(scheduleStart([job(1, 0, 4000), job(2, 4100, 4200)], []), 0);
  assert.equal(scheduleStart([job(1, 0, 5)], [step("w", { queued: 9000 })]), 9000);
});

test("a job that was lost without an end does not bridge a pause", () => {
  assert.equal(scheduleStart([job(1, 0, null, { outcome: "lost" }), job(2, 5000, 5001)], []), 5000);
});

test("each slot of a pool is a row, also one that nobody used", () => {
  const jobs = [job(1, 0, 2, { slots: { test: [0] } }), job(2, 2, 4, { slots: { test: [0] }, queued: 0 })];
  assert.deepEqual(said(scheduleRows({ ...wanted, jobs })), ["test slot 0: 1 2", "test slot 1: ", "test waiting: w2"]);
});

test("a job with slots in two pools stands in both, one without a pool in rows of its own", () => {
  const jobs = [job(1, 0, 2, { slots: { test: [0, 1], lic: [0] } }), job(2, 0, 2), job(3, 1, 2), job(4, 2, 3)];
  assert.deepEqual(said(scheduleRows({ ...wanted, jobs })), ["test slot 0: 1", "test slot 1: 1", "lic slot 0: 1", "no pool 1: 2 4", "no pool 2: 3"]);
});

test("those that wait now are among the waiting", () => {
  const waiting = [step("w", { state: "QUEUED", queued: 1, pool: { test: 1 } })];
  const rows = scheduleRows({ ...wanted, jobs: [], waiting });
  assert.deepEqual(said(rows).at(-1), "test waiting: w w");
  assert.deepEqual(said(scheduleRows({ ...wanted, jobs: [], waiting, hasWaits: false })), ["test slot 0: ", "test slot 1: "]);
});

test("by worker each worker is a row", () => {
  const jobs = [job(1, 0, 2, { worker: 1 }), job(2, 2, 3, { worker: 1 })];
  assert.deepEqual(said(scheduleRows({ ...wanted, jobs, by: "worker" })), ["worker 0: ", "worker 1: 1 2"]);
});

const [near, far] = ["tls://10.0.0.3:1", "tls://10.0.0.20:1"];

test("jobs of several machines stand under the names of these, and who waited stands after them", () => {
  const jobs = [job(1, 1, 2, { slots: { test: [0] }, machine: far, queued: 0 }), job(2, 0, 2, { slots: { test: [1] }, machine: near }), job(3, 0, 1)];
  assert.deepEqual(said(scheduleRows({ ...wanted, jobs })), [
    " this machine: ",
    "no pool 1: 3",
    " 10.0.0.3: ",
    "test slot 1: 2",
    " 10.0.0.20: ",
    "test slot 0: 1",
    " all machines: ",
    "test waiting: w1",
  ]);
  const rows = scheduleRows({ ...wanted, jobs, by: "worker", hasWaits: false });
  assert.deepEqual(said(rows), [" this machine: ", "worker 0: 3", " 10.0.0.3: ", "worker 0: 2", " 10.0.0.20: ", "worker 0: 1"]);
  assert.equal(new Set(rows.map(({ key }) => key)).size, rows.length);
  assert.deepEqual(rows.map(({ isHead }) => isHead), [true, false, true, false, true, false]);
});

test("workers that share a machine make no headings", () => {
  const jobs = [job(1, 0, 2, { machine: "tls://10.0.0.3:1" }), job(2, 0, 2, { machine: "tls://10.0.0.3:2" })];
  assert.deepEqual(said(scheduleRows({ ...wanted, jobs, pools: [] })), ["no pool 1: 1", "no pool 2: 2"]);
});

test("a job that the cluster has not begun makes no machine of its own", () => {
  const fresh = job(3, 2, null);
  const one = { ...wanted, pools: [], isFar: true, jobs: [job(1, 0, 2, { machine: near }), fresh] };
  assert.deepEqual(said(scheduleRows(one)), ["no pool 1: 1 3"]);
  const two = { ...one, jobs: [...one.jobs, job(2, 0, 2, { machine: far })] };
  assert.deepEqual(said(scheduleRows(two)).slice(-2), [" no machine yet: ", "no pool 1: 3"]);
});

test("of a pool that counts on each machine each shows all its slots", () => {
  /** @type {Pool} */
  const mem = { ...pool, name: "mem", per_machine: true, machines: [["10.0.0.3", 1], ["10.0.0.20", 1]] };
  const jobs = [near, far].map((machine, at) => job(at, 0, null, { machine, slots: { mem: [at] } }));
  const rows = scheduleRows({ ...wanted, jobs, pools: [mem, pool] });
  assert.deepEqual(said(rows), [" 10.0.0.3: ", "mem slot 0: 0", "mem slot 1: ", " 10.0.0.20: ", "mem slot 0: ", "mem slot 1: 1"]);
});

test("jobs before the run are left out", () => {
  const jobs = [job(1, 0, 2, { slots: { test: [0] } }), job(2, 900, 901, { slots: { test: [0] } })];
  assert.equal(said(scheduleRows({ ...wanted, jobs, since: 800 }))[0], "test slot 0: 2");
});

test("packed bars do not overlap, and what does not fit is counted in the last lane", () => {
  const packed = schedulePacked([bar("a", 0, 2), bar("b", 1, 3), bar("c", 2, 4), bar("d", 1, null)], 2);
  assert.deepEqual(packed.map((lane) => lane.map(({ key, count }) => `${key}${count}`)), [["a1", "c1"], ["b2"]]);
  assert.equal(packed[1][0].to, null);
});

test("bars too narrow to be told apart are joined, wide ones and the chosen one are not", () => {
  const lane = [bar("a", 0, 1), bar("b", 1, 2, { state: "FAILED" }), bar("c", 2, 3), bar("d", 3, 90), bar("e", 90, 91)];
  const keys = (/** @type {Bar[]} */ bars) => bars.map(({ key, count }) => `${key}${count}`);
  assert.deepEqual(keys(scheduleSeen(lane, 0, 100, 100, 1)), ["a3", "d1", "e1"]);
  assert.equal(scheduleSeen(lane, 0, 100, 100, 1)[0].state, "FAILED");
  assert.deepEqual(keys(scheduleSeen(lane, 0, 100, 100, 1, "b")), ["a1", "b1", "c1", "d1", "e1"]);
  assert.deepEqual(keys(scheduleSeen(lane, 0, 100, 100, 0.01)), ["a1", "b1", "c1", "d1", "e1"]);
});

test("bars out of sight are left out", () => {
  const lane = Array.from({ length: 5000 }, (_, at) => bar(`${at}`, at * 10, at * 10 + 9));
  assert.deepEqual(scheduleSeen(lane, 20005, 20022, 99999, 0.1).map(({ key }) => key), ["2000", "2001", "2002"]);
});

test("two that follow each other are one at a time", () => {
  assert.equal(scheduleMost([job(1, 0, 2), job(2, 2, 4), job(3, 3, null)]), 2);
});

test("the axis has marks at round numbers", () => {
  const words = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ most) => scheduleTicks(from, to, most).map(({ words }) => words);
  assert.deepEqual(words(0, 10, 6), ["0", "2 s", "4 s", "6 s", "8 s", "10 s"]);
  assert.deepEqual(words(0, 1, 3), ["0", "0.5 s", "1.0 s"]);
  assert.deepEqual(words(50, 130, 4), ["1:00", "1:30", "2:00"]);
  assert.deepEqual(words(0, 200000, 3), ["0", "1 d", "2 d"]);
  assert.ok(scheduleTicks(0, 1e9, 10).length <= 12);
});

test("a moment is as precise as the marks", () => {
  assert.equal(scheduleClock(62.5, 0.5), "1:02.5");
  assert.equal(scheduleClock(97200, 10800), "1 d 3 h");
});

test("an axis leaves room ahead, at round numbers", () => {
  assert.equal(scheduleSpan(11), 15);
  assert.ok(scheduleSpan(1e6) >= 1e6);
});

test("a bar tells label, state, times, slot, machine and memory", () => {
  const done = job(1, 3, 5, { queued: 1, slots: { test: [1] }, peak_rss: 4e7, worker: 2 });
  const [{ lanes }] = scheduleRows({ ...wanted, jobs: [done], since: 0 }).filter(({ name }) => name === "slot 1");
  const row = { key: "", group: "test", name: "slot 1", isWait: false, isHead: false, machine: "", lanes };
  const words = (/** @type {string} */ machine) => timelineWords(lanes[0][0], "plot", row, 9, machine);
  assert.deepEqual(words(""), ["plot", "SUCCEEDED", "waited 2.0 s, ran 2.0 s", "test slot 1, worker 2", "40 MB of memory at most"]);
  assert.equal(words("10.0.0.3")[3], "test slot 1, worker 2, on 10.0.0.3");
});
