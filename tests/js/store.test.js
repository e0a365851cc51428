// What the panel knows, told by a simulated kernel.

import assert from "node:assert/strict";
import test from "node:test";
import { LINES, PATIENCE, Store } from "../../stepup_nb/notebook/panel/js/store.js";
import { World } from "../browser/world.js";

/** A store and a world, joined by a line that can be cut, on one clock that stands still until it is moved. */
function pair() {
  const line = { isCut: false };
  const clock = { at: 0, calls: [] };
  const sent = [];
  const world = new World((message) => line.isCut || store.take(structuredClone(message)));
  const later = (call, ms) => clock.calls.push({ at: clock.at + ms, call });
  const send = (message) => {
    sent.push(message);
    if (!line.isCut) world.hear(structuredClone(message));
  };
  const store = new Store(send, { now: () => clock.at, later });
  /** Let milliseconds pass. */
  const wait = (ms) => {
    const end = clock.at + ms;
    for (;;) {
      const next = clock.calls.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      clock.calls.splice(clock.calls.indexOf(next), 1);
      clock.at = next.at;
      next.call();
    }
    clock.at = end;
  };
  return { world, store, line, sent, wait };
}

const states = (store) => Object.fromEntries([...store.steps].map(([name, step]) => [name, step.state]));

test("a snapshot and its deltas give the kernel's picture", () => {
  const { world, store } = pair();
  world.pool("test", 1).step("a", { pool: { test: 1 }, takes: 1 }).step("b", { pool: { test: 1 }, takes: 1 });
  store.hello();
  assert.equal(store.isReady, true);
  world.pass(1.5).flush();
  assert.deepEqual(states(store), { a: "SUCCEEDED", b: "RUNNING" });
  assert.equal(store.session.pools[0].used, 1);
  assert.equal(store.jobs.size, 2);
});

test("workers get short names as they are heard of", () => {
  const { world, store } = pair();
  store.hello();
  world.on("tls://10.0.0.3:1").step("a", { takes: 1 }).pass(2).flush();
  const name = (step) => store.machineOf(store.steps.get(step));
  assert.equal(name("a"), "10.0.0.3");
  world.on("tls://10.0.0.3:2").step("b", { takes: 1 }).step("c", { state: "SUCCEEDED" }).pass(2).flush();
  assert.deepEqual(["a", "b", "c"].map(name), ["10.0.0.3:1", "10.0.0.3:2", ""]);
  assert.equal(store.machineOf(null), "");
});

test("ten lost messages are seen at the next, and mended by one question", () => {
  const { world, store, line, sent } = pair();
  world.pool("test", 2);
  for (const name of "abcd") world.step(name, { pool: { test: 1 }, takes: 0.5 });
  store.hello();
  line.isCut = true;
  for (let i = 0; i < 10; i++) world.pass(0.1).flush();
  line.isCut = false;
  world.pass(0.1).flush();
  assert.deepEqual(states(store), Object.fromEntries([...world.steps].map(([name, step]) => [name, step.state])));
  assert.equal(sent.filter(({ kind }) => kind === "hello").length, 2);
});

test("a question that got lost is asked again", () => {
  const { world, store, line, wait } = pair();
  line.isCut = true;
  store.hello();
  line.isCut = false;
  assert.equal(store.isReady, false);
  wait(2 * PATIENCE);
  assert.equal(store.isReady, true);
  assert.equal(world.heard.length, 1);
});

test("a kernel that does not answer is busy until it does", () => {
  const { world, store, wait } = pair();
  store.hello();
  world.isBusy = true;
  store.act("pause");
  wait(PATIENCE - 1);
  assert.equal(store.isBusy, false);
  wait(1);
  assert.equal(store.isBusy, true);
  world.isBusy = false;
  store.act("resume");
  store.take({ kind: "delta", seq: world._seq + 1, at: world.now, answers: [...store._asked.keys()].map((id) => ({ id, words: "" })) });
  assert.equal(store.isBusy, false);
});

test("an action without an answer is sent again, ever less often, until there is one", () => {
  const { world, store, line, sent, wait } = pair();
  store.hello();
  line.isCut = true;
  store.act("pause");
  wait(7 * PATIENCE - 1);
  const acts = () => sent.filter(({ kind }) => kind === "act");
  assert.equal(acts().length, 3);
  assert.equal(new Set(acts().map(({ id }) => id)).size, 1);
  line.isCut = false;
  wait(1);
  world.flush();
  assert.equal(store.session.paused, true);
  wait(1000 * PATIENCE);
  assert.equal(acts().length, 4);
});

test("a refusal stays until something is done", () => {
  const { world, store } = pair();
  store.hello();
  store.act("cancel", { step: "ghost" });
  world.flush();
  assert.equal(store.refusal, "There is no step 'ghost'.");
  store.act("pause");
  world.flush();
  assert.equal(store.refusal, "");
  assert.equal(store.session.paused, true);
});

test("a step that is forgotten goes", () => {
  const { world, store } = pair();
  world.step("a").step("b");
  store.hello();
  const before = store.version;
  world.flush();
  world.steps.delete("a");
  world._changed("a");
  world.flush();
  assert.deepEqual([...store.steps.keys()], ["b"]);
  assert.ok(store.version > before);
});

test("output is kept to the last lines, and the rest is counted", () => {
  const { store } = pair();
  store.hello();
  const lines = (count) => Array.from({ length: count }, (_, i) => [0, [[String(i)]]]);
  store._takeLog({ step: "a", job: 1, from: 0, first: 0, lines: lines(LINES + 5), hidden: 0, path: null, final: false });
  const output = store.outputs.get(1);
  assert.deepEqual([output.first, output.lines.length, output.hidden], [5, LINES, 5]);
});

test("lines that the kernel does not keep any more go here, too", () => {
  const { store } = pair();
  store.hello();
  const log = { step: "a", job: 1, hidden: -1, path: null, final: false };
  store._takeLog({ ...log, first: 3, from: 3, lines: [[0, [["3"]]], [0, [["4"]]], [0, [["5"]]]] });
  store._takeLog({ ...log, first: 5, from: 6, lines: [[0, [["6"]]]] });
  const output = store.outputs.get(1);
  assert.deepEqual([output.first, output.lines.map(([, [[text]]]) => text)], [5, ["5", "6"]]);
});

test("a later message replaces the last line", () => {
  const { store } = pair();
  store.hello();
  const log = { step: "a", job: 1, first: 0, hidden: 0, path: null, final: false };
  store._takeLog({ ...log, from: 0, lines: [[0, [["10 %"]]]] });
  store._takeLog({ ...log, from: 0, lines: [[0, [["20 %"]]], [0, [["done"]]]] });
  assert.deepEqual(store.outputs.get(1).lines.map(([, [[text]]]) => text), ["20 %", "done"]);
});

test("the clock is the kernel's, by the message that was fastest", () => {
  const { store, wait } = pair();
  store.take({ kind: "snapshot", seq: 1, at: 1000, session: store.session, steps: [], jobs: [], logs: [], details: [] });
  wait(2000);
  store.take({ kind: "delta", seq: 2, at: 1001.5 });
  assert.equal(store.now(), 1002);
  store.take({ kind: "delta", seq: 3, at: 1002.25 });
  assert.equal(store.now(), 1002.25);
});

test("nothing is asked of a kernel that is gone", () => {
  const { store, sent } = pair();
  store.setDead(true);
  store.hello();
  assert.deepEqual(sent, []);
});

test("a listener is told until it ends", () => {
  const { world, store } = pair();
  let told = 0;
  const end = store.listen(() => told++);
  store.hello();
  const before = told;
  assert.ok(before > 0);
  end();
  world.flush();
  assert.equal(told, before);
});
