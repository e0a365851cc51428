// Who sits where.

import assert from "node:assert/strict";
import test from "node:test";
import {
  SEATS_EACH,
  SEATS_FAILED,
  SEATS_LARGE,
  SEATS_MACHINES,
  seatsElapsed,
  seatsEnding,
  seatsFree,
  seatsPlan,
  seatsShare,
  seatsTitle,
} from "../../stepup_nb/notebook/panel/js/seats.js";
import { World } from "../browser/world.js";

function world() {
  return new World(() => {});
}

function plan(world) {
  return seatsPlan(world.session(), world.steps);
}

/** What one would read off a lane: who sits where. */
function story(lane) {
  return lane.seats.map((seat) => {
    const who = seat.kind === "free" ? "free" : seat.kind === "rest" ? seat.mark : `${seat.kind} ${seat.step.name}`;
    return seat.leaves ? `${who} leaves` : who;
  });
}

test("each slot is a place, free or taken", () => {
  const { lanes } = plan(world().pool("test", 3).step("a", { pool: { test: 1 } }).pass(0.1));
  assert.deepEqual(lanes.map(story), [["taken a", "free", "free"]]);
});

test("a step with several slots sits in its first, and holds the others", () => {
  const { lanes } = plan(world().pool("gpu", 3).step("a", { pool: { gpu: 2 } }).pass(0.1));
  assert.deepEqual(story(lanes[0]), ["taken a", "also a", "free"]);
});

test("slots beyond the new size leave with their steps", () => {
  const small = world().pool("test", 3);
  for (const name of "abc") small.step(name, { pool: { test: 1 }, takes: name === "a" ? 1 : 9 });
  small.pass(0.1).pools.get("test").size = 1;
  assert.deepEqual(story(plan(small).lanes[0]), ["taken a", "taken b leaves", "taken c leaves"]);
  assert.deepEqual(story(plan(small.pass(1.5)).lanes[0]), ["free", "taken b leaves", "taken c leaves"]);
});

test("a pool without a limit shows the slots in use and no free one", () => {
  const { lanes } = plan(world().pool("net", null).step("a", { pool: { net: 1 } }).step("b", { pool: { net: 1 } }).pass(0.1));
  assert.deepEqual(story(lanes[0]), ["taken a", "taken b"]);
});

test("a closed pool has no places", () => {
  const [lane] = plan(world().pool("test", 0).step("a", { pool: { test: 1 } }).pass(0.1)).lanes;
  assert.deepEqual([lane.seats, lane.queue.map((step) => step.name)], [[], ["a"]]);
});

test("tokens are written on the slots that have one", () => {
  const [lane] = plan(world().pool("gpu", 2, { tokens: ["cuda:1"] })).lanes;
  assert.deepEqual(lane.seats.map((seat) => seat.mark), ["cuda:1", "slot 1"]);
});

test("many slots get small places, and very many are counted", () => {
  const sizes = [SEATS_LARGE, SEATS_LARGE + 1, SEATS_EACH, SEATS_EACH + 1];
  const lanes = sizes.map((size) => plan(world().pool("mem", size).step("a", { pool: { mem: 4 } }).pass(0.1)).lanes[0]);
  assert.deepEqual(lanes.map((lane) => lane.isDense), [false, true, true, true]);
  assert.deepEqual(lanes.map((lane) => lane.seats.length), [SEATS_LARGE, SEATS_LARGE + 1, SEATS_EACH, 2]);
  assert.deepEqual(story(lanes[3]), ["taken a", `${SEATS_EACH - 3} free`]);
  assert.equal(lanes[3].seats[0].mark, "4 slots");
});

/** Machines of the first lane: name, how full, who sits where. */
const machines = (world) => plan(world).lanes[0].machines.map((each) => `${each.name}, ${each.words}: ${story(each).join(", ")}`);

test("a pool that counts on each machine has a row of places for each", () => {
  const far = world().on("tls://10.0.0.3:1", "tls://10.0.0.4:1").pool("mem", 2, { isPerMachine: true });
  far.step("a", { pool: { mem: 2 } }).step("b", { pool: { mem: 1 } }).step("c", { pool: { mem: 2 } }).pass(0.1);
  assert.deepEqual(machines(far), ["10.0.0.3, 2 of 2: taken a, also a", "10.0.0.4, 1 of 2: taken b, free"]);
  const [lane] = plan(far).lanes;
  assert.deepEqual([lane.seats, lane.queue.map((step) => step.name)], [[], ["c"]]);
});

test("on one machine such a pool looks as any other does", () => {
  for (const addresses of [[], ["tls://10.0.0.3:1", "tls://10.0.0.3:2"]]) {
    const one = world().pool("mem", 2, { isPerMachine: true }).step("a", { pool: { mem: 1 } });
    if (addresses.length) one.on(...addresses);
    const [lane] = plan(one.pass(0.1)).lanes;
    assert.deepEqual([story(lane), lane.machines], [["taken a", "free"], []]);
  }
});

test("who holds slots on a machine that has left keeps its place", () => {
  const left = world().on("tls://10.0.0.3:1", "tls://10.0.0.4:1").pool("mem", 1, { isPerMachine: true });
  left.step("a", { pool: { mem: 1 } }).step("b", { pool: { mem: 1 } }).pass(0.1);
  left.on("tls://10.0.0.4:1");
  assert.deepEqual(machines(left), ["10.0.0.4, 1 of 1: taken b", "10.0.0.3, 1 of 1: taken a"]);
});

test("of very many machines those where nothing is in use are counted", () => {
  const many = world().on(...Array.from({ length: SEATS_MACHINES + 5 }, (_, at) => `tls://10.0.1.${at}:1`)).pool("mem", 1, { isPerMachine: true });
  const [lane] = plan(many).lanes;
  assert.equal(lane.machines.length, SEATS_MACHINES + 1);
  assert.equal(machines(many).at(-1), "+5 more, nothing in use: ");
});

test("a place says on which machine its step is, if that is not this one", () => {
  const [step] = world().step("a").steps.values();
  const seat = { key: "", kind: "taken", step, slot: 0, mark: "slot 0", leaves: false };
  assert.equal(seatsTitle(seat, step, ""), "a\nslot 0");
  assert.equal(seatsTitle(seat, step, "10.0.0.3"), "a\nslot 0\non 10.0.0.3");
});

test("the queue keeps its order, and counts those it does not name", () => {
  const busy = world().pool("test", 0);
  for (let i = 0; i < 11; i++) busy.step(`s${i}`, { pool: { test: 1 } });
  const [lane] = plan(busy).lanes;
  assert.deepEqual(lane.queue.map((step) => step.name), ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]);
  assert.equal(lane.more, 3);
});

test("a name in a queue whose step is unknown is passed over", () => {
  const session = { ...world().pool("test", 1).session(), pools: [{ ...world().pool("test", 1).session().pools[0], queue: ["ghost"], waiting: 1 }] };
  const [lane] = seatsPlan(session, new Map()).lanes;
  assert.deepEqual([lane.queue, lane.more], [[], 1]);
});

test("steps without a pool have a lane of their own, by worker", () => {
  const free = world();
  free.workers = 1;
  const { lanes } = plan(free.step("a").step("b").pass(0.1));
  assert.deepEqual(lanes.map((lane) => [lane.key, story(lane), lane.queue.map((step) => step.name)]), [["no pool", ["taken a"], ["b"]]]);
});

test("there is no lane without a pool when each step has one", () => {
  assert.deepEqual(plan(world().pool("test", 1).step("a", { pool: { test: 1 } })).lanes.map((lane) => lane.key), ["pool test"]);
});

test("what failed last stands first, and old news are counted", () => {
  const bad = world();
  bad.workers = 1;
  for (let i = 0; i < SEATS_FAILED + 2; i++) bad.step(`s${i}`, { takes: 0.2, fails: true });
  const { failed, moreFailed } = plan(bad.pass(5));
  assert.equal(failed[0].name, `s${SEATS_FAILED + 1}`);
  assert.deepEqual([failed.length, moreFailed], [SEATS_FAILED, 2]);
});

test("steps of earlier sessions take no place", () => {
  const old = world().step("a", { fails: true, takes: 0.2 }).pass(1);
  old.steps.get("a").dormant = true;
  assert.deepEqual(plan(old), { lanes: [], failed: [], moreFailed: 0 });
});

test("elapsed time says what is usual, and says otherwise when that is long over", () => {
  const step = { started: 100, expected: 5 };
  assert.equal(seatsElapsed(step, 103.2), "3.2 s of about 5 s");
  assert.equal(seatsElapsed(step, 107), "7.0 s, usually 5 s");
  assert.equal(seatsElapsed({ started: 100, expected: null }, 100.4), "0.4 s");
  assert.equal(seatsElapsed({ started: 100, expected: null }, 99), "0.0 s");
  assert.equal(seatsElapsed({ started: null, expected: 5 }, 99), "");
});

test("the bar is full at most", () => {
  assert.deepEqual([0, 2.5, 99].map((elapsed) => seatsShare({ started: 100, expected: 5 }, 100 + elapsed)), [0, 0.5, 1]);
  assert.deepEqual([null, 0].map((expected) => seatsShare({ started: 100, expected }, 101)), [null, null]);
});

test("an ending is said in words", () => {
  const step = { reason: "", outcome: "failed", returncode: 2 };
  assert.equal(seatsEnding(step), "exit code 2");
  assert.equal(seatsEnding({ ...step, returncode: -9 }), "ended by signal 9");
  assert.equal(seatsEnding({ ...step, returncode: null }), "failed");
  assert.equal(seatsEnding({ ...step, outcome: "timed out" }), "timed out");
  assert.equal(seatsEnding({ ...step, reason: "killed: out of memory" }), "killed: out of memory");
});

test("a free place says for whom it is kept", () => {
  const [pool] = world().pool("test", 1, { reserved: "wide" }).session().pools;
  assert.equal(seatsFree(pool, false), "reserved for wide");
  assert.equal(seatsFree({ ...pool, reserved: null }, false), "free");
  assert.equal(seatsFree({ ...pool, reserved: null }, true), "free, paused");
});
