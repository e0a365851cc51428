// Where the steps and files of the graph stand: in layers from left to right. Knows no elements and no states.

import { counted } from "./words.js";

/** @typedef {import("./types.js").Node} Node */

/**
 * A step or a file.
 * @typedef {object} Vertex
 * @property {"step"|"file"} kind
 * @property {string} name
 * @property {string} label
 * @property {number[]} before   those that an edge comes from
 * @property {number[]} after    those that an edge goes to
 */

/**
 * What is drawn: a step, a file, or many that look alike.
 * @typedef {object} Box
 * @property {string} key
 * @property {"step"|"file"} kind
 * @property {string} label     words: a name, or how many of which kind
 * @property {number[]} members   of the vertices
 * @property {number[]} before    places of boxes
 * @property {number[]} after
 * @property {number} layer
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 */

/** @typedef {{from: number, to: number, points: [number, number][]}} Edge   points: it bends between them, and goes straight through layers */
/** @typedef {{boxes: Box[], edges: Edge[], width: number, height: number}} Picture */

/** Heights, and widths at least and at most; between those the label decides, as if all letters were as wide as `letter`. */
const LAYERS_STEP = { height: 26, least: 84, most: 180, letter: 7.2, more: 40 };
const LAYERS_FILE = { height: 20, least: 30, most: 160, letter: 6.8, more: 16 };
const LAYERS_GROUP = { height: 42, least: 190, most: 230, letter: 7, more: 24 };
const LAYERS_GAP = { x: 36, y: 10, pass: 8 };
/** Alike ones from which on they are folded. */
const LAYERS_FOLD = 4;
/** Rounds of telling apart those that look alike; a chain of this length of differences is seen. */
const LAYERS_ROUNDS = 8;
const LAYERS_SWEEPS = 4;
/** Places where edges pass a layer; with more of them edges go straight. */
const LAYERS_PASSES = 20000;

/**
 * Steps and files, and the edges between them.
 * @param {Node[]} nodes @param {(step: string) => string} labelOf
 * @returns {Vertex[]}
 */
export function layersVertices(nodes, labelOf) {
  /** @type {Vertex[]} */
  const vertices = [];
  /** @type {Map<string, number>} */
  const places = new Map();
  const place = (/** @type {"step"|"file"} */ kind, /** @type {string} */ name) => {
    const key = `${kind} ${name}`;
    let at = places.get(key);
    if (at === undefined) {
      at = vertices.length;
      places.set(key, at);
      vertices.push({ kind, name, label: kind === "step" ? labelOf(name) : name, before: [], after: [] });
    }
    return at;
  };
  const join = (/** @type {number} */ from, /** @type {number} */ to) => {
    vertices[from].after.push(to);
    vertices[to].before.push(from);
  };
  for (const [name] of nodes) place("step", name);
  for (const [name, reads, makes, comesAfter] of nodes) {
    const step = place("step", name);
    for (const path of new Set(reads)) join(place("file", path), step);
    for (const path of new Set(makes)) join(step, place("file", path));
    for (const other of new Set(comesAfter)) {
      const before = places.get(`step ${other}`);
      if (before !== undefined) join(before, step);
    }
  }
  return vertices;
}

/**
 * The layer of each: one more than the last of those before it. What has nothing before it stands close to its first reader.
 * @param {{before: number[], after: number[]}[]} vertices
 */
export function layersRanked(vertices) {
  const ranks = new Array(vertices.length).fill(0);
  const open = vertices.map(({ before }) => before.length);
  const ready = open.flatMap((count, at) => (count ? [] : [at]));
  for (let next = 0; next < ready.length; next++) {
    for (const after of vertices[ready[next]].after) {
      ranks[after] = Math.max(ranks[after], ranks[ready[next]] + 1);
      if (--open[after] === 0) ready.push(after);
    }
  }
  vertices.forEach(({ before, after }, at) => {
    if (!before.length && after.length) ranks[at] = Math.max(0, Math.min(...after.map((other) => ranks[other])) - 1);
  });
  return ranks;
}

/** A name without its numbers: what many of a kind have in common. @param {string} name */
export function layersStem(name) {
  return name.replace(/\d+/g, "…");
}

/**
 * A number for each vertex, equal for those that look alike: of one kind, one layer, one stem, with neighbours that look alike.
 * @param {Vertex[]} vertices @param {number[]} ranks
 */
export function layersAlike(vertices, ranks) {
  /** @param {string[]} looks */
  const numbered = (looks) => {
    /** @type {Map<string, number>} */
    const numbers = new Map();
    const all = looks.map((look) => {
      if (!numbers.has(look)) numbers.set(look, numbers.size);
      return Number(numbers.get(look));
    });
    return { all, count: numbers.size };
  };
  let { all, count } = numbered(vertices.map(({ kind, label }, at) => `${kind} ${ranks[at]} ${layersStem(label)}`));
  for (let round = 0; round < LAYERS_ROUNDS; round++) {
    const looks = (/** @type {number[]} */ others) => [...new Set(others.map((other) => all[other]))].sort((one, other) => one - other).join();
    const next = numbered(vertices.map(({ before, after }, at) => `${all[at]}|${looks(before)}|${looks(after)}`));
    if (next.count === count) break;
    ({ all, count } = next);
  }
  return all;
}

/**
 * Boxes without a place: one for each vertex, or one for many that look alike unless it was opened.
 * @param {Vertex[]} vertices @param {number[]} ranks @param {boolean} isFolded @param {Set<string>} opened  keys of boxes
 * @returns {Box[]}
 */
export function layersBoxes(vertices, ranks, isFolded, opened) {
  /** @type {Map<string, number[]>} */
  const groups = new Map();
  const alike = isFolded ? layersAlike(vertices, ranks) : null;
  /** @type {Map<number, number[]>} */
  const families = new Map();
  alike?.forEach((look, at) => {
    const family = families.get(look);
    if (family) family.push(at);
    else families.set(look, [at]);
  });
  vertices.forEach(({ kind, name }, at) => {
    const family = alike && families.get(alike[at]);
    // The first one names the group, so that a group that was opened is known again in the next picture.
    const key = family && family.length >= LAYERS_FOLD ? `group ${kind} ${vertices[family[0]].name}` : "";
    if (family && key && !opened.has(key)) groups.set(key, family);
    else groups.set(`${kind} ${name}`, [at]);
  });
  const boxOf = new Array(vertices.length);
  const boxes = [...groups].map(([key, members], place) => {
    for (const member of members) boxOf[member] = place;
    const { kind, label } = vertices[members[0]];
    const isGroup = members.length > 1;
    const text = isGroup ? `${counted(members.length, kind)}  ${layersStem(label)}` : label;
    return { key, kind, label: text, members, before: [], after: [], layer: ranks[members[0]], x: 0, y: 0, ...layersSize(kind, isGroup, text) };
  });
  boxes.forEach((/** @type {Box} */ box, place) => {
    const others = box.members.flatMap((member) => vertices[member].after.map((after) => boxOf[after]));
    box.after = [...new Set(others)].filter((other) => other !== place);
    for (const other of box.after) /** @type {Box} */ (boxes[other]).before.push(place);
  });
  return boxes;
}

/** @param {"step"|"file"} kind @param {boolean} isGroup @param {string} text */
function layersSize(kind, isGroup, text) {
  const { height, least, most, letter, more } = kind === "file" ? LAYERS_FILE : isGroup ? LAYERS_GROUP : LAYERS_STEP;
  return { height, width: Math.round(Math.min(most, Math.max(least, text.length * letter + more))) };
}

/** What stands in a layer: a box, or an edge that passes. @typedef {{box: number, before: Item[], after: Item[], order: number, y: number, height: number}} Item */

/**
 * Give each box its place: those with edges in layers, those without beneath, in columns.
 * @param {Box[]} boxes @returns {Picture}
 */
export function layersPlaced(boxes) {
  /** @type {Item[][]} */
  const layers = [];
  const items = boxes.map((each, box) => {
    /** @type {Item} */
    const item = { box, before: [], after: [], order: 0, y: 0, height: each.height };
    if (!layersIsAlone(each)) (layers[each.layer] ??= []).push(item);
    return item;
  });
  for (let layer = 0; layer < layers.length; layer++) layers[layer] ??= [];
  const routes = layersRoutes(boxes, items, layers);
  layersOrder(layers);
  layersAlign(layers);
  return layersBeneath(layersPicture(boxes, layers, routes));
}

/** @param {Box} box */
function layersIsAlone({ before, after }) {
  return !before.length && !after.length;
}

/** Put the boxes without edges beneath the others, about three times as wide as high. @param {Picture} picture @returns {Picture} */
function layersBeneath(picture) {
  const alone = picture.boxes.filter(layersIsAlone);
  if (!alone.length) return picture;
  const wide = alone.reduce((most, box) => Math.max(most, box.width), 0);
  const high = alone.reduce((most, box) => Math.max(most, box.height), 0) + LAYERS_GAP.y;
  const pitch = wide + LAYERS_GAP.x / 2;
  const columns = Math.min(alone.length, Math.max(Math.floor(picture.width / pitch), Math.ceil(Math.sqrt((3 * alone.length * high) / pitch))));
  const top = picture.height ? picture.height + 3 * LAYERS_GAP.y : 0;
  alone.forEach((box, at) => {
    // Columns are layers of their own, for the arrow keys.
    box.layer = -1 - (at % columns);
    Object.assign(box, { x: (at % columns) * pitch, y: top + Math.floor(at / columns) * high, width: wide });
  });
  const height = top + Math.ceil(alone.length / columns) * high - LAYERS_GAP.y;
  return { ...picture, width: Math.max(picture.width, columns * pitch - LAYERS_GAP.x / 2), height };
}

/** @param {Box[]} boxes @param {Item[]} items @param {Item[][]} layers */
function layersRoutes(boxes, items, layers) {
  const passes = boxes.reduce((sum, box) => sum + box.after.reduce((more, to) => more + Math.max(0, boxes[to].layer - box.layer - 1), 0), 0);
  /** @type {{from: number, to: number, via: Item[]}[]} */
  const routes = [];
  boxes.forEach((box, from) => {
    for (const to of box.after) {
      const via = [];
      let last = items[from];
      for (let layer = box.layer + 1; layer < boxes[to].layer && passes <= LAYERS_PASSES; layer++) {
        /** @type {Item} */
        const pass = { box: -1, before: [last], after: [], order: 0, y: 0, height: 0 };
        last.after.push(pass);
        layers[layer].push(pass);
        via.push(pass);
        last = pass;
      }
      last.after.push(items[to]);
      items[to].before.push(last);
      routes.push({ from, to, via });
    }
  });
  return routes;
}

/** Sort the layers so that few edges cross. @param {Item[][]} layers */
function layersOrder(layers) {
  const number = (/** @type {Item[]} */ layer) => layer.forEach((item, order) => (item.order = order));
  /** @param {Item[]} layer @param {"before"|"after"} side */
  const sort = (layer, side) => {
    const means = new Map(layer.map((item) => [item, item[side].length ? layersMean(item[side].map(({ order }) => order)) : item.order]));
    layer.sort((one, other) => Number(means.get(one)) - Number(means.get(other)));
    number(layer);
  };
  layers.forEach(number);
  for (let sweep = 0; sweep < LAYERS_SWEEPS; sweep++) {
    for (const layer of layers.slice(1)) sort(layer, "before");
    for (const layer of layers.slice(0, -1).reverse()) sort(layer, "after");
  }
  for (const layer of layers.slice(1)) sort(layer, "before");
}

/** @param {number[]} numbers */
function layersMean(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** Draw boxes to the height of their neighbours, without changing their order. @param {Item[][]} layers */
function layersAlign(layers) {
  for (const layer of layers) layersSettle(layer, layer.map((_, at) => at * (LAYERS_STEP.height + LAYERS_GAP.y)));
  for (let sweep = 0; sweep < LAYERS_SWEEPS; sweep++) {
    const side = sweep % 2 ? "after" : "before";
    const inTurn = sweep % 2 ? [...layers].reverse() : layers;
    for (const layer of inTurn) layersSettle(layer, layer.map((item) => (item[side].length ? layersMean(item[side].map(({ y }) => y)) : item.y)));
  }
}

/**
 * Give the items of a layer the heights nearest to the wanted ones (in least squares) that keep their order and distance.
 * @param {Item[]} layer @param {number[]} wanted   of their middles
 */
export function layersSettle(layer, wanted) {
  /** @type {number[]} the least distance of each from the first */
  const offsets = [];
  layer.forEach((item, at) => {
    if (!at) return void offsets.push(0);
    const before = layer[at - 1];
    const gap = item.box < 0 && before.box < 0 ? LAYERS_GAP.pass : LAYERS_GAP.y;
    offsets.push(offsets[at - 1] + (before.height + item.height) / 2 + gap);
  });
  /** @type {{sum: number, count: number}[]} neighbours that touch move as one */
  const blocks = [];
  wanted.forEach((want, at) => {
    let block = { sum: want - offsets[at], count: 1 };
    for (let last = blocks.at(-1); last && last.sum / last.count >= block.sum / block.count; last = blocks.at(-1)) {
      block = { sum: last.sum + block.sum, count: last.count + block.count };
      blocks.pop();
    }
    blocks.push(block);
  });
  let at = 0;
  for (const { sum, count } of blocks) for (let member = 0; member < count; member++, at++) layer[at].y = sum / count + offsets[at];
}

/** @param {Box[]} boxes @param {Item[][]} layers @param {{from: number, to: number, via: Item[]}[]} routes @returns {Picture} */
function layersPicture(boxes, layers, routes) {
  let left = 0;
  /** @type {[number, number][]} left and right of each layer */
  const sides = [];
  let top = Infinity;
  let bottom = -Infinity;
  for (const layer of layers) {
    const here = layer.filter(({ box }) => box >= 0).map(({ box }) => boxes[box]);
    const wide = here.reduce((most, box) => Math.max(most, box.width), LAYERS_FILE.least);
    // Steps of a layer are equally wide: a column of them is calmer to read.
    for (const box of here) if (box.kind === "step") box.width = wide;
    sides.push([left, left + wide]);
    for (const { box, y, height } of layer) {
      top = Math.min(top, y - height / 2);
      bottom = Math.max(bottom, y + height / 2);
      if (box >= 0) boxes[box].x = left;
    }
    left += wide + LAYERS_GAP.x;
  }
  layers.forEach((layer, at) => {
    for (const item of layer) {
      item.y -= top;
      if (item.box >= 0) boxes[item.box].y = item.y - item.height / 2;
      else item.order = at;
    }
  });
  const edges = routes.map(({ from, to, via }) => {
    const { layer, y, height } = boxes[from];
    /** @type {[number, number][]} */
    const points = [[sides[layer][1], y + height / 2]];
    for (const pass of via) points.push([sides[pass.order][0], pass.y], [sides[pass.order][1], pass.y]);
    return { from, to, points };
  });
  return { boxes, edges, width: Math.max(0, left - LAYERS_GAP.x), height: layers.length ? bottom - top : 0 };
}

/** The line of an edge, for an SVG path. @param {Edge} edge @param {Box[]} boxes */
export function layersLine({ from, to, points }, boxes) {
  const [start, end] = [boxes[from], boxes[to]];
  // Straight to the end of the layer and through others, bent in the gaps between.
  const stops = [[start.x + start.width, start.y + start.height / 2], ...points, [end.x, end.y + end.height / 2]];
  let line = `M${stops[0][0].toFixed(0)} ${stops[0][1].toFixed(1)}`;
  for (let at = 1; at < stops.length; at++) {
    const [[x, y], [nextX, nextY]] = [stops[at - 1], stops[at]];
    const bend = (nextX - x) / 2;
    line += `C${(x + bend).toFixed(0)} ${y.toFixed(1)} ${(nextX - bend).toFixed(0)} ${nextY.toFixed(1)} ${nextX.toFixed(0)} ${nextY.toFixed(1)}`;
  }
  return line;
}
