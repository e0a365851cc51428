import assert from "node:assert/strict";
import { test } from "node:test";
import { layersBoxes, layersLine, layersPlaced, layersRanked, layersSettle, layersVertices } from "../../stepup_nb/notebook/panel/js/layers.js";
import { graphCounts, graphNeighbour, graphTelling } from "../../stepup_nb/notebook/panel/js/graph.js";

/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Node} Node */

/** @param {Node[]} nodes @param {boolean} [isFolded] @param {string[]} [opened] */
function picture(nodes, isFolded = false, opened = []) {
  const vertices = layersVertices(nodes, (name) => name);
  return layersPlaced(layersBoxes(vertices, layersRanked(vertices), isFolded, new Set(opened)));
}

/** @type {Node[]} */
const chain = [
  ["make", ["in.txt"], ["a.txt"], []],
  ["use", ["a.txt", "late.txt"], ["b.txt"], []],
  ["end", [], [], ["use", "nobody"]],
];

/** Many steps of a kind between one that splits and one that joins. @param {number} count @returns {Node[]} */
function fan(count) {
  const numbers = Array.from({ length: count }, (_, at) => at);
  /** @type {Node[]} */
  const many = numbers.map((at) => [`work ${at}`, [`part-${at}.csv`], [`out-${at}.csv`], []]);
  return [["split", [], numbers.map((at) => `part-${at}.csv`), []], ...many, ["join", numbers.map((at) => `out-${at}.csv`), ["all.csv"], []]];
}

test("layers grow along the edges, and a source stands close to its reader", () => {
  const layers = Object.fromEntries(picture(chain).boxes.map(({ key, layer }) => [key, layer]));
  assert.deepEqual(layers, {
    "file in.txt": 0,
    "step make": 1,
    "file a.txt": 2,
    "file late.txt": 2,
    "step use": 3,
    "file b.txt": 4,
    "step end": 4,
  });
});

test("boxes of a layer do not overlap, and nothing is left of or above the picture", () => {
  const { boxes, width, height } = picture(fan(50));
  for (const one of boxes) {
    assert.ok(one.x >= 0 && one.y >= 0 && one.x + one.width <= width && one.y + one.height <= height + 1e-6);
    for (const other of boxes) {
      if (other !== one && other.layer === one.layer) assert.ok(one.y + one.height <= other.y + 1e-6 || other.y + other.height <= one.y + 1e-6);
    }
  }
});

test("edges go from left to right", () => {
  const { boxes, edges } = picture(fan(5));
  for (const { from, to } of edges) assert.ok(boxes[from].x + boxes[from].width < boxes[to].x);
});

test("steps that look alike are folded, with their files", () => {
  const { boxes } = picture(fan(57), true);
  assert.deepEqual(boxes.map(({ label }) => label).sort(), ["57 files  out-….csv", "57 files  part-….csv", "57 steps  work …", "all.csv", "join", "split"]);
});

test("a group that was opened shows each of its members", () => {
  const group = picture(fan(57), true).boxes.find(({ label }) => label.startsWith("57 steps"));
  const { boxes } = picture(fan(57), true, [group?.key ?? ""]);
  assert.equal(boxes.filter(({ kind }) => kind === "step").length, 59);
  assert.equal(boxes.filter(({ kind }) => kind === "file").length, 3);
});

test("one that is read by another does not look like the rest", () => {
  const { boxes } = picture([...fan(10), ["check", ["out-3.csv"], [], []]], true);
  assert.ok(boxes.some(({ label }) => label === "work 3"));
  assert.ok(boxes.some(({ label }) => label === "9 steps  work …"));
});

test("few alike ones stay as they are", () => {
  assert.ok(picture(fan(3), true).boxes.every(({ members }) => members.length === 1));
});

test("an edge over several layers passes between the boxes of those", () => {
  /** @type {Node[]} */
  const nodes = [["a", [], ["1", "9"], []], ["b", ["1"], ["2"], []], ["c", ["2"], ["3"], []], ["d", ["3", "9"], [], []]];
  const { boxes, edges } = picture(nodes);
  const long = edges.find(({ from, to }) => boxes[to].layer - boxes[from].layer > 1);
  assert.ok(long);
  for (const [x, y] of long.points.slice(1)) {
    const hit = boxes.filter((box) => x > box.x && x < box.x + box.width && y > box.y && y < box.y + box.height);
    assert.deepEqual(hit, []);
  }
  assert.match(layersLine(long, boxes), /^M[\d. ]+(C[\d. ]+)+$/);
});

test("steps without files stand in columns beneath the others, and arrow keys walk there too", () => {
  /** @type {Node[]} */
  const loose = Array.from({ length: 20 }, (_, at) => [`sleep ${at}`, [], [], []]);
  const whole = picture([...chain, ...loose]);
  const alone = whole.boxes.filter(({ key }) => key.startsWith("step sleep"));
  const rest = whole.boxes.filter((box) => !alone.includes(box));
  assert.ok(Math.min(...alone.map(({ y }) => y)) > Math.max(...rest.map(({ y, height }) => y + height)));
  assert.ok(new Set(alone.map(({ x }) => x)).size > 2);
  const first = whole.boxes.indexOf(alone[0]);
  assert.equal(graphNeighbour(whole, first, "ArrowRight"), first + 1);
  assert.equal(graphNeighbour(whole, first + 1, "ArrowLeft"), first);
  assert.equal(graphNeighbour(whole, first, "ArrowLeft"), -1);
  assert.equal(picture(loose).boxes[0].y, 0);
});

test("items take the heights they want if those leave room, else share the way", () => {
  const items = [0, 1, 2].map((box) => ({ box, before: [], after: [], order: 0, y: 0, height: 10 }));
  layersSettle(items, [0, 100, 200]);
  assert.deepEqual(items.map(({ y }) => y), [0, 100, 200]);
  layersSettle(items, [50, 50, 50]);
  assert.deepEqual(items.map(({ y }) => y), [30, 50, 70]);
});

test("a cycle, which cannot be, does no harm", () => {
  assert.equal(picture([["a", ["x"], ["y"], []], ["b", ["y"], ["x"], []]]).boxes.length, 4);
});

test("names that objects have anyway are names like others", () => {
  const { boxes } = picture([["__proto__", ["constructor"], ["toString"], []]]);
  assert.deepEqual(boxes.map(({ key }) => key).sort(), ["file constructor", "file toString", "step __proto__"]);
});

test("5,000 steps are laid out within a second", () => {
  const before = performance.now();
  picture(fan(5000), true);
  picture(fan(5000));
  assert.ok(performance.now() - before < 2000);
});

test("arrow keys walk along edges and within a layer", () => {
  const whole = picture(fan(3));
  const at = (/** @type {string} */ key) => whole.boxes.findIndex((box) => box.key === key);
  const inOrder = whole.boxes.filter(({ key }) => key.startsWith("step work")).sort((one, other) => one.y - other.y);
  const [first, second] = inOrder.map(({ key }) => at(key));
  assert.equal(graphNeighbour(whole, first, "ArrowDown"), second);
  assert.equal(graphNeighbour(whole, second, "ArrowUp"), first);
  assert.equal(graphNeighbour(whole, at("step split"), "ArrowLeft"), -1);
  assert.equal(whole.boxes[graphNeighbour(whole, first, "ArrowRight")].kind, "file");
});

test("a box of many says how many are in which state, and shows the one that matters most", () => {
  /** @type {Map<import("../../stepup_nb/notebook/panel/js/types.js").State, number>} */
  const counts = new Map([["SUCCEEDED", 3], ["FAILED", 1], ["RUNNING", 2]]);
  assert.equal(graphCounts(counts), "● 2  ✓ 3  ✗ 1");
  assert.equal(graphTelling(counts), "FAILED");
  assert.equal(graphTelling(new Map()), "SUCCEEDED");
});
