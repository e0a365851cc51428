// Worlds worth looking at, by name. Each is the start of a lesson, or a corner where a layout breaks.

/** @typedef {import("./world.js").World} World */

const HOSTILE = [
  "<img src=x onerror=window.hurt=1>",
  "</script><script>window.hurt=1</script>",
  "a label that goes on and on until nobody in the last row of the lecture hall can read it",
  "数据清洗和标准化步骤",
  "חישוב התוצאות (שלב 2)",
  "__proto__",
  "nobreak".repeat(11),
];

/** @param {World} world */
function lesson(world) {
  world.pool("test", 2);
  for (const letter of "ABCDE") world.step(`sleep_${letter}`, { pool: { test: 1 }, takes: 5 });
  return world.pass(3.2);
}

/** @param {World} world */
function five(world) {
  world.workers = 6;
  world.pool("test", 2).pool("lic", 2, { tokens: ["seat-a", "seat-b"] }).pool("gpu", 3, { tokens: ["cuda:0", "cuda:1", "cuda:2"] });
  world.pool("net", null).pool("mem", 4);
  for (let i = 0; i < 4; i++) world.step(`done_${i}`, { state: "SUCCEEDED" });
  world.step("plot", { pool: { test: 1 }, takes: 0.4, fails: true }).pass(0.6);
  for (const letter of "ABCDE") world.step(`sleep_${letter}`, { pool: { test: 1 }, takes: 9 });
  for (const i of [7, 8, 9]) world.step(`solve_${i}`, { pool: { lic: 1 }, takes: 12, expected: i === 7 ? 2 : null });
  world.step("train", { pool: { gpu: 2 }, takes: 30 }).step("fetch", { pool: { net: 1 }, takes: 14 });
  world.step("report", { takes: 8 }).step("index", { takes: 8 });
  for (let i = 0; i < 12; i++) world.step(`check_${i}`, { pool: { test: 1 }, takes: 3 });
  return world.pass(3.2);
}

/** @param {World} world */
function corners(world) {
  world.workers = 12;
  world.pool("open", null).pool("closed", 0).pool("paused", 2, { isPaused: true }).pool("shrunk", 4);
  world.pool("kept", 3, { reserved: "solve_wide" }).pool("idle", 2);
  for (let i = 0; i < 3; i++) world.step(`free_${i}`, { pool: { open: 1 }, takes: 40 });
  for (let i = 0; i < 3; i++) world.step(`shut_${i}`, { pool: { closed: 1 } });
  for (let i = 0; i < 2; i++) world.step(`held_${i}`, { pool: { paused: 1 } });
  for (let i = 0; i < 4; i++) world.step(`seat_${i}`, { pool: { shrunk: 1 }, takes: 40 });
  world._poolOf("kept").reserved = null;
  world.step("narrow", { pool: { kept: 1 }, takes: 40 });
  world.pass(2);
  world._poolOf("shrunk").size = 2;
  world._poolOf("kept").reserved = "solve_wide";
  world.step("solve_wide", { pool: { kept: 3 } }).step("solve_late", { pool: { kept: 1 } });
  for (let i = 0; i < 7; i++) world.step(`bad_${i}`, { takes: 0.3, fails: true });
  return world.pass(2);
}

/** @param {World} world */
function twenty(world) {
  world.workers = 40;
  world.pool("many", 20).pool("huge", 4096);
  for (let i = 0; i < 44; i++) world.step(`part_${String(i).padStart(2, "0")}`, { pool: { many: 1 }, takes: 4 + 8 * world.dice() });
  for (let i = 0; i < 5; i++) world.step(`big_${i}`, { pool: { huge: 512 }, takes: 40 });
  return world.pass(6.3);
}

/** Three machines, of which one has two workers. @param {World} world */
function cluster(world) {
  world.workers = 12;
  world.on("tls://10.0.0.3:41711", "tls://10.0.0.4:38201", "tls://10.0.0.4:38202", "tls://node17.physics.example.org:40001");
  world.pool("mem", 4, { isPerMachine: true }).pool("lic", 2);
  for (let i = 0; i < 4; i++) world.step(`prepare_${i}`, { takes: 1 + world.dice() });
  world.pass(2.6);
  for (let i = 0; i < 9; i++) world.step(`solve_${i}`, { pool: { mem: i % 3 === 0 ? 2 : 1 }, takes: 4 + 4 * world.dice() });
  for (let i = 0; i < 5; i++) world.step(`mesh_${i}`, { pool: { lic: 1 }, takes: 2 + world.dice(), fails: i === 0 });
  for (let i = 0; i < 6; i++) world.step(`wide_${i}`, { pool: { mem: 3 }, takes: 4 });
  return world.pass(4.2);
}

/** More machines than anybody wants to see, most of them idle. @param {World} world */
function farm(world) {
  world.workers = 200;
  world.on(...Array.from({ length: 40 }, (_, at) => `tls://10.1.0.${at + 10}:4000`));
  world.pool("mem", 8, { isPerMachine: true }).pool("net", null, { isPerMachine: true });
  for (let i = 0; i < 30; i++) world.step(`part_${i}`, { pool: { mem: 1 + (i % 3) }, takes: 8 });
  return world.pass(3);
}

/** @param {World} world */
function hostile(world) {
  world.notebook = "<b>noten</b> und sehr lange Namen von Heften, die niemand lesen mag.ipynb";
  world.notes = ["<img src=x onerror=window.hurt=1> is the name of a file that is gone."];
  world.workers = 8;
  world.pool("<img src=x onerror=window.hurt=1>", 3).pool("עברית", 2).pool("ein_sehr_langer_name_eines_vorrats_an_lizenzen", 2);
  const pools = [...world.pools.keys()];
  for (const [i, label] of HOSTILE.entries()) {
    const prints = () => `<script>window.hurt=1</script> ${label}`;
    world.step(label, { pool: { [pools[i % 3]]: 1 }, takes: i === 6 ? 0.3 : 30, fails: i === 6, prints });
    world.step(`${label}2`.slice(0, 80), { pool: { [pools[i % 3]]: 1 }, prints });
  }
  return world.pass(3);
}

/** A cluster that says what it likes of itself. @param {World} world */
function stranger(world) {
  world.on("tls://<b>bold</b>:1", "javascript:window.hurt=1", "tls://[fe80::1]:2");
  world.cluster = { kind: "<i>dask</i>", address: "<script>window.hurt=1</script>", dashboard: "javascript:window.hurt=1", threads: 3 };
  world.pool("<u>mem</u>", 2, { isPerMachine: true });
  for (const label of HOSTILE) world.step(label, { pool: { "<u>mem</u>": 1 }, takes: 9 });
  return world.pass(3);
}

/** @param {World} world */
function thousands(world) {
  world.workers = 20;
  world.pool("test", 8).pool("lic", 12);
  for (let i = 0; i < 5000; i++) {
    /** @type {Record<string, number>} */
    const pool = i % 3 === 0 ? { test: 1 } : i % 3 === 1 ? { lic: 1 } : {};
    const after = i > 10 ? [`file_${i - 10}.txt`] : [];
    world.step(`step_${i}`, { pool, takes: 0.5 + world.dice(), inp: after, out: [`file_${i}.txt`], fails: i % 97 === 96 });
  }
  return world.pass(3);
}

/** @param {World} world */
function nothing(world) {
  return world;
}

/** @type {Record<string, (world: World) => World>} */
export const SCENES = { lesson, five, corners, twenty, cluster, farm, hostile, stranger, thousands, nothing };
