import assert from "node:assert/strict";
import { test } from "node:test";
import { logChange, logClasses, logCopy, logEmpty, logHidden, logOutcome, logWhen } from "../../stepup_nb/notebook/panel/js/log.js";
import { job, step } from "./given.js";

/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Line} Line */
/** @typedef {import("../../stepup_nb/notebook/panel/js/store.js").Output} Output */

/** @param {string[]} texts @returns {Line[]} */
const lines = (...texts) => texts.map((text) => [0, [[text]]]);
/** @param {Partial<Output>} fields @returns {Output} */
const output = (fields) => ({ step: "a", job: 1, first: 0, lines: [], hidden: 0, path: null, final: false, version: 0, ...fields });

test("the clipboard gets all text that is here, whitespace kept, without styles", () => {
  assert.equal(logCopy([[0, [["  a "], ["b", "bold red"]]], [1, []]]), "  a b\n\n");
});

test("only known styles become classes", () => {
  assert.equal(logClasses("bold red"), "snb-a-bold snb-a-red");
  assert.equal(logClasses("panel red"), "snb-a-red");
  assert.equal(logClasses(undefined), "");
});

test("lines that came behind are added to those that are drawn", () => {
  const drawn = { first: 0, lines: lines("a", "b") };
  assert.deepEqual(logChange(drawn, { first: 0, lines: [...drawn.lines, ...lines("c")] }), { front: 0, stay: 2 });
});

test("lines that had to go leave at the front", () => {
  const [a, b, c] = lines("a", "b", "c");
  assert.deepEqual(logChange({ first: 0, lines: [a, b] }, { first: 1, lines: [b, c] }), { front: 1, stay: 1 });
});

test("a last line that was overwritten is drawn anew", () => {
  const [a, b] = lines("a", "10 %");
  assert.deepEqual(logChange({ first: 5, lines: [a, b] }, { first: 5, lines: [a, ...lines("20 %")] }), { front: 0, stay: 1 });
});

test("when nothing drawn is left, all is drawn anew", () => {
  const drawn = { first: 0, lines: lines("a", "b") };
  assert.deepEqual(logChange(drawn, { first: 900, lines: lines("z") }), { front: 2, stay: 0 });
  assert.deepEqual(logChange({ first: 9, lines: lines("a") }, { first: 0, lines: lines("a") }), { front: 1, stay: 0 });
});

test("hidden lines are counted, and the full log is named", () => {
  assert.equal(logHidden(output({ hidden: 1100, path: "logs/1.txt" })), "1100 lines hidden, full log at logs/1.txt");
  assert.equal(logHidden(output({ hidden: 1 })), "1 line hidden");
  assert.equal(logHidden(output({ path: "logs/1.txt" })), "full log at logs/1.txt");
  assert.equal(logHidden(output({})), "");
});

test("an empty log says why it is empty", () => {
  assert.equal(logEmpty(step("a"), undefined, null), "It has not run yet.");
  assert.equal(logEmpty(step("a"), output({}), 1), "Nothing printed yet.");
  assert.equal(logEmpty(step("a"), output({ final: true }), 1), "It printed nothing.");
  assert.equal(logEmpty(undefined, undefined, 1), "This step is gone.");
});

test("a job of today has a time, an earlier one its day", () => {
  const noon = new Date(2026, 10, 22, 12, 3, 4).getTime() / 1000;
  assert.equal(logWhen(noon, noon + 60), "12:03:04");
  assert.equal(logWhen(noon, noon + 86400), "22 Nov 12:03");
});

test("how a job ended names the exit code of a failure", () => {
  assert.equal(logOutcome(job(1, 0, 2), 9), "succeeded, 2.0 s");
  assert.equal(logOutcome(job(1, 0, 2, { outcome: "failed", returncode: 3 }), 9), "failed, exit code 3, 2.0 s");
  assert.equal(logOutcome(job(1, 0, null), 9), "running");
});
