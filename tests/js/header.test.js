// The head's words.

import assert from "node:assert/strict";
import test from "node:test";
import { spinParse } from "../../stepup_nb/notebook/panel/js/controls.js";
import { headerClusterWords, headerCompactParts, headerDone, headerLink, headerProgressWords } from "../../stepup_nb/notebook/panel/js/header.js";
import { World } from "../browser/world.js";

/** As it is read on a slide. */
const line = (world) => headerCompactParts(world.session()).map(({ name = "", text }) => name + text).join(" · ");

test("the compact line", () => {
  const world = new World(() => {}).pool("test", 2).pool("lic", 2);
  for (let i = 0; i < 4; i++) world.step(`d${i}`, { state: "SUCCEEDED" });
  world.step("bad", { takes: 0.2, fails: true }).pass(0.5);
  for (let i = 0; i < 5; i++) world.step(`t${i}`, { pool: { test: 1 }, takes: 6 });
  for (let i = 0; i < 3; i++) world.step(`l${i}`, { pool: { lic: i === 0 ? 1 : 2 }, takes: 6 });
  assert.equal(line(world.pass(1)), "test 2/2 (+3) · lic 1/2 (+2) · 4 done · 1 failed · about 11 s left");
});

test("the compact line of pools that are open, closed or paused", () => {
  const world = new World(() => {}).pool("net", null).pool("shut", 0).pool("held", 1, { isPaused: true });
  assert.equal(line(world), "net 0 used · shut closed · held 0/1 paused · 0 done");
});

test("the compact line without pools counts what runs", () => {
  assert.equal(line(new World(() => {}).step("a", { takes: 8 }).pass(0.1)), "1 running · 0 done · about 2 s left");
});

test("the compact line says when the cluster is gone, and how full pools are on all machines", () => {
  const world = new World(() => {}).on("tls://10.0.0.3:1", "tls://10.0.0.4:1").pool("mem", 2, { isPerMachine: true });
  world.step("a", { pool: { mem: 1 }, expected: null }).pass(0.1);
  world.cluster.threads = null;
  assert.match(line(world), /^mem 1\/4 · 0 done · dask · gone/);
});

test("a cluster in a few words", () => {
  const cluster = new World(() => {}).on("tls://10.0.0.3:1").cluster;
  assert.deepEqual([4, 1, 0, null].map((threads) => headerClusterWords({ ...cluster, threads })), [
    "dask · 4 threads",
    "dask · 1 thread",
    "dask · no threads yet",
    "dask · gone",
  ]);
});

test("a link leads to a page and nowhere else", () => {
  const page = "https://hub.example.org/user/ada/lab";
  const linked = ["http://10.0.0.1:8787/status", "/user/ada/proxy/8787/status"].map((address) => headerLink(address, page));
  assert.deepEqual(linked, ["http://10.0.0.1:8787/status", "https://hub.example.org/user/ada/proxy/8787/status"]);
  for (const address of ["", "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://[", "tls://10.0.0.1:8786"]) {
    assert.equal(headerLink(address, page), null, address);
  }
  assert.equal(headerLink("/user/ada/proxy/8787/status", "vscode-webview://abc/index.html"), null);
});

test("progress", () => {
  const world = new World(() => {});
  assert.equal(headerProgressWords(world.session()), "no steps yet");
  world.workers = 1;
  world.step("a", { takes: 3 }).step("b", { takes: 3, fails: true }).pass(3.5);
  assert.equal(headerProgressWords(world.session()), "1 of 2 done · about 3 s left");
  world.pass(4);
  assert.equal(headerProgressWords(world.session()), "all 2 steps done");
  assert.deepEqual(headerDone(world.session()), { total: 2, succeeded: 1, failed: 1, running: 0, done: 2 });
});

test("a size may be a number, none or empty", () => {
  assert.deepEqual(["3", " 0 ", "none", "None", ""].map((text) => spinParse(text, 0, true)), [3, 0, null, null, null]);
});

test("what is no size is refused in words", () => {
  for (const text of ["-1", "1.5", "two", "1e3", "0x10", "9999999999"]) {
    assert.equal(spinParse(text, 0, true), `“${text}” cannot be taken. Enter a whole number, 0 to close the pool, or none for no limit.`);
  }
});

test("there is at least one worker", () => {
  assert.equal(spinParse("0", 1, false), "“0” cannot be taken. Enter a whole number from 1.");
  assert.equal(spinParse("", 1, false), "Nothing cannot be taken. Enter a whole number from 1.");
});
