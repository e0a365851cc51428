// The graph: which steps make what others read. Draws only what is in sight; far away, boxes without words.

import { GLYPH, STATES, counted } from "./words.js";
import { h, keep, s, say, set, show } from "./dom.js";
import { focusWithin, oncePerFrame } from "./parts.js";
import { layersBoxes, layersLine, layersPlaced, layersRanked, layersVertices } from "./layers.js";

/** @typedef {import("./layers.js").Box} Box */
/** @typedef {import("./layers.js").Vertex} Vertex */
/** @typedef {import("./layers.js").Picture} Picture */
/** @typedef {import("./types.js").State} State */

/** Steps and files from which on those that look alike are folded. */
const GRAPH_FOLD = 300;
/** Boxes with words that are drawn at most; with more in sight they are drawn as plain shapes. */
const GRAPH_WORDS = 300;
const GRAPH_SCALES = { least: 0.02, most: 2, fit: 1.15, start: 0.85 };
const GRAPH_MARGIN = 16;
const GRAPH_ZOOM = 1.4;
const GRAPH_DRAG = 4;
/** Neighbours listed beneath the graph. */
const GRAPH_LISTED = 30;
/** The state that a box of many shows: the first of these that one of them has. @type {State[]} */
const GRAPH_TELLING = ["FAILED", "RUNNING", "QUEUED", "CANCELLED", "CHECKING", "PENDING"];

/**
 * What a box of many steps says of their states.
 * @param {Map<State, number>} counts
 */
export function graphCounts(counts) {
  return STATES.filter((state) => counts.get(state))
    .map((state) => `${GLYPH[state]} ${counts.get(state)}`)
    .join("  ");
}

/** @param {Map<State, number>} counts @returns {State} */
export function graphTelling(counts) {
  return GRAPH_TELLING.find((state) => counts.get(state)) ?? "SUCCEEDED";
}

/**
 * The neighbour in a direction: along an edge, or up and down within the layer.
 * @param {Picture} picture @param {number} from @param {string} key
 */
export function graphNeighbour({ boxes }, from, key) {
  const box = boxes[from];
  const middle = (/** @type {Box} */ other) => other.y + other.height / 2;
  const away = (/** @type {number} */ at) => Math.abs(middle(boxes[at]) - middle(box));
  const nearest = (/** @type {number[]} */ places) => places.reduce((best, at) => (best < 0 || away(at) < away(best) ? at : best), -1);
  if (box.layer < 0 && (key === "ArrowRight" || key === "ArrowLeft")) {
    const layer = box.layer + (key === "ArrowRight" ? -1 : 1);
    return boxes.findIndex((other) => other.layer === layer && layer < 0 && other.y === box.y);
  }
  if (key === "ArrowRight") return nearest(box.after);
  if (key === "ArrowLeft") return nearest(box.before);
  const sign = key === "ArrowDown" ? 1 : -1;
  const others = boxes.flatMap((other, at) => (other.layer === box.layer && at !== from && (middle(other) - middle(box)) * sign > 0 ? [at] : []));
  return nearest(others);
}

/** @param {import("./types.js").Context} context @returns {import("./types.js").View} */
export function graphView(context) {
  const { store, send, view } = context;
  let isOpen = false;
  /** @type {import("./types.js").Node[]|null} */
  let nodes = null;
  /** @type {Vertex[]} */
  let vertices = [];
  /** @type {Picture} */
  let picture = { boxes: [], edges: [], width: 0, height: 0 };
  /** @type {boolean|null} null: as the size of the graph suggests */
  let wantsFold = null;
  let isFolded = false;
  /** @type {Set<string>} */
  let opened = new Set();
  let isStale = true;
  let at = -1;
  /** @type {string|null} */
  let selected = null;
  let place = { x: 0, y: 0, scale: 1 };
  /** @type {"start"|"fit"|"free"} how the place is found */
  let mode = "start";
  let wasDragged = false;

  const again = oncePerFrame(paint);
  const fold = h("button.button", { type: "button", title: "show many steps that look alike as one box", onclick: toggleFold }, "Fold");
  const fit = h("button.button", { type: "button", title: "all of it ( 0 )", onclick: toFit }, "Fit");
  const zoomOut = h("button.button", { type: "button", title: "Zoom out ( - )", "aria-label": "Zoom out", onclick: () => zoom(1 / GRAPH_ZOOM) }, "−");
  const zoomIn = h("button.button", { type: "button", title: "Zoom in ( + )", "aria-label": "Zoom in", onclick: () => zoom(GRAPH_ZOOM) }, "+");
  const said = h("span.muted");
  const tools = h("div.tools", {}, said, h("span.graph-buttons", {}, fold, zoomOut, zoomIn, fit));
  const lines = s("path.graph-lines");
  const marked = s("path.graph-marked");
  const shapes = new Map([...STATES, "file"].map((state) => [state, s("path.graph-shape", { "data-state": state === "file" ? null : state })]));
  const world = s("g", {}, lines, marked, ...shapes.values());
  const paper = s("svg.graph-paper", { "aria-hidden": "true" }, world);
  const boxes = h("div.graph-boxes", { role: "group" });
  const field = h("div.graph-field", { onwheel: onWheel, onpointerdown: onPress, onclick: onClick }, paper, boxes);
  const empty = h("p.empty");
  const list = h("dl.graph-list");
  const el = h("div.graph", {}, tools, field, empty, list);
  const sizes = new ResizeObserver(again.ask);
  sizes.observe(field);

  function paint() {
    if (!isOpen) {
      isOpen = true;
      send({ kind: "graph", view, open: true });
    }
    if (nodes !== store.graph) {
      nodes = store.graph;
      vertices = layersVertices(nodes ?? [], (name) => store.steps.get(name)?.label ?? name);
      isStale = true;
    }
    const isEmpty = !nodes?.length;
    show(empty, isEmpty);
    for (const part of [tools, field, list]) show(part, !isEmpty);
    if (isEmpty) say(empty, nodes ? "No steps yet. What they read and make will stand here." : "Waiting for the graph …");
    if (isEmpty || !nodes) return;
    if (isStale) lay();
    follow();
    setPlace();
    draw();
    paintList();
    set(fold, "aria-pressed", String(isFolded && !opened.size));
    const steps = nodes.length;
    const words = `${counted(steps, "step")}, ${counted(vertices.length - steps, "file")}`;
    say(said, words);
    set(boxes, "aria-label", `graph of ${words}`);
  }

  function lay() {
    isStale = false;
    const key = picture.boxes[at]?.key;
    isFolded = wantsFold ?? vertices.length > GRAPH_FOLD;
    picture = layersPlaced(layersBoxes(vertices, layersRanked(vertices), isFolded, opened));
    at = key === undefined ? -1 : picture.boxes.findIndex((box) => box.key === key);
    selected = null;
  }

  /** Go where the selection went. */
  function follow() {
    const name = context.selected();
    if (name === selected) return;
    selected = name;
    const vertex = vertices.findIndex((each) => each.kind === "step" && each.name === name);
    const to = boxOf(vertex);
    if (to < 0 || to === at) return;
    at = to;
    if (mode === "free") reveal(picture.boxes[to]);
  }

  /** Place of the box that a vertex is in. @param {number} vertex */
  function boxOf(vertex) {
    return vertex < 0 ? -1 : picture.boxes.findIndex((box) => box.members.includes(vertex));
  }

  function setPlace() {
    const [width, height] = sizeOf();
    if (mode === "free") return;
    const most = Math.min((width - 2 * GRAPH_MARGIN) / picture.width, (height - 2 * GRAPH_MARGIN) / picture.height, GRAPH_SCALES.fit);
    // At first words are to be read, even if not all of the graph is to be seen then.
    const scale = Math.max(most, mode === "start" ? GRAPH_SCALES.start : GRAPH_SCALES.least);
    const centred = (/** @type {number} */ room, /** @type {number} */ length) => Math.max(GRAPH_MARGIN, (room - length * scale) / 2);
    place = { x: centred(width, picture.width), y: centred(height, picture.height), scale };
  }

  /** @returns {[number, number]} */
  function sizeOf() {
    return [field.clientWidth || 800, field.clientHeight || 400];
  }

  /** @param {Box} box */
  function stateOf(box) {
    /** @type {Map<State, number>} */
    const counts = new Map();
    for (const member of box.members) {
      const state = store.steps.get(vertices[member].name)?.state;
      if (state) counts.set(state, (counts.get(state) ?? 0) + 1);
    }
    return counts;
  }

  function draw() {
    const [width, height] = sizeOf();
    const { x, y, scale } = place;
    const [left, top, right, bottom] = [-x / scale, -y / scale, (width - x) / scale, (height - y) / scale];
    const isSeen = (/** @type {Box} */ box) => box.x < right && box.x + box.width > left && box.y < bottom && box.y + box.height > top;
    const seen = picture.boxes.flatMap((box, place) => (isSeen(box) ? [place] : []));
    const hasWords = seen.length <= GRAPH_WORDS && scale > 0.2;
    // Whole pixels: between them letters blur, and browsers leave traces of what was drawn before.
    set(world, "transform", `translate(${Math.round(x)} ${Math.round(y)}) scale(${scale.toFixed(4)})`);
    boxes.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px) scale(${scale.toFixed(4)})`;
    drawLines({ left, right, top, bottom });
    drawShapes(hasWords ? [] : seen);
    const shown = hasWords ? seen : at >= 0 && seen.includes(at) ? [at] : [];
    const reachable = shown.includes(at) ? at : shown[0];
    const focused = focusWithin(boxes);
    keep(boxes, shown, (place) => picture.boxes[place].key, makeBox, (el, place) => {
      updateBox(el, picture.boxes[place]);
      set(el, "data-place", place);
      set(el, "tabindex", place === reachable ? 0 : -1);
      set(el, "aria-current", place === at ? "true" : null);
    });
    if (focused && !focusWithin(boxes)) elementAt(at)?.focus({ preventScroll: true });
  }

  /** @param {{left: number, right: number, top: number, bottom: number}} sight */
  function drawLines({ left, right, top, bottom }) {
    /** @type {string[]} */
    const plain = [];
    /** @type {string[]} */
    const bold = [];
    for (const edge of picture.edges) {
      const [from, to] = [picture.boxes[edge.from], picture.boxes[edge.to]];
      const heights = [from.y, to.y, ...edge.points.map(([, y]) => y)];
      if (from.x > right || to.x + to.width < left || Math.min(...heights) > bottom || Math.max(...heights) + 42 < top) continue;
      (edge.from === at || edge.to === at ? bold : plain).push(layersLine(edge, picture.boxes));
    }
    set(lines, "d", plain.join(""));
    set(marked, "d", bold.join(""));
  }

  /** @param {number[]} seen */
  function drawShapes(seen) {
    /** @type {Map<string, string[]>} */
    const paths = new Map();
    for (const place of seen) {
      const box = picture.boxes[place];
      const kind = box.kind === "file" ? "file" : graphTelling(stateOf(box));
      const path = `M${box.x} ${box.y.toFixed(1)}h${box.width}v${box.height}h${-box.width}z`;
      const known = paths.get(kind);
      if (known) known.push(path);
      else paths.set(kind, [path]);
    }
    for (const [kind, shape] of shapes) set(shape, "d", paths.get(kind)?.join("") ?? "");
  }

  /** @param {number} place */
  function makeBox(place) {
    const box = picture.boxes[place];
    const isGroup = box.members.length > 1;
    const first = h("span.graph-words", {}, h("span.state.glyph", { "aria-hidden": "true" }), h("span.line.label"));
    return h(
      `button.graph-box.graph-${box.kind}${isGroup ? ".graph-group" : ""}`,
      { type: "button", ondblclick: () => box.kind === "step" && !isGroup && context.select(vertices[box.members[0]].name, { tab: "Log" }) },
      first,
      isGroup && box.kind === "step" && h("span.graph-counts.line"),
    );
  }

  /** @param {HTMLElement} el @param {Box} box */
  function updateBox(el, box) {
    el.style.transform = `translate(${box.x.toFixed(1)}px, ${box.y.toFixed(1)}px)`;
    el.style.width = `${box.width}px`;
    el.style.height = `${box.height}px`;
    const isGroup = box.members.length > 1;
    const { label } = box;
    const [glyph, words] = /** @type {Element} */ (el.firstElementChild).children;
    say(words, label);
    set(el, "title", label);
    if (box.kind === "file") {
      set(el, "data-built", box.before.every((place) => graphTelling(stateOf(picture.boxes[place])) === "SUCCEEDED"));
      set(el, "aria-label", isGroup ? label : `file ${label}`);
      return;
    }
    const counts = stateOf(box);
    const isKnown = counts.size > 0;
    const state = graphTelling(counts);
    set(el, "data-state", isKnown ? state : null);
    set(el, "data-dormant", Boolean(store.steps.get(vertices[box.members[0]].name)?.dormant));
    set(glyph, "data-state", isKnown ? state : null);
    say(glyph, isKnown && !isGroup ? GLYPH[state] : "");
    if (isGroup) say(/** @type {Element} */ (el.lastElementChild), graphCounts(counts));
    const spoken = STATES.filter((each) => counts.get(each)).map((each) => (isGroup ? `${counts.get(each)} ${each}` : each));
    set(el, "aria-label", [isGroup ? label : `step ${label}`, ...spoken].join(", "));
  }

  /** What the current box reads and makes, in words. */
  function paintList() {
    const box = picture.boxes[at];
    /** @type {[string, number[]][]} */
    const rows = box
      ? [
          [box.kind === "step" ? "reads" : "made by", box.before],
          [box.kind === "step" ? "makes" : "read by", box.after],
        ]
      : [];
    keep(list, rows, ([term]) => term, ([term]) => h("div", {}, h("dt", {}, term), h("dd")), (row, [, places]) => {
      const surplus = places.length - GRAPH_LISTED;
      const entries = places.slice(0, GRAPH_LISTED).map((to) => picture.boxes[to]);
      const values = /** @type {HTMLElement} */ (row.lastElementChild);
      const make = (/** @type {Box} */ to) => h("button.button.plain.graph-link", { type: "button", onclick: () => goTo(picture.boxes.findIndex(({ key }) => key === to.key)) });
      keep(values, entries, ({ key }) => key, make, (link, to) => say(link, to.label));
      set(values, "data-more", surplus > 0 ? `and ${surplus} more` : places.length ? null : "nothing");
    });
    show(list, true);
    set(list, "data-hint", box ? null : "Choose a step to read here what it reads and makes.");
  }

  /** @param {number} place @returns {HTMLElement|null} */
  function elementAt(place) {
    return boxes.querySelector(`[data-place="${place}"]`);
  }

  /** Bring a box into sight. @param {Box} box */
  function reveal(box) {
    const [width, height] = sizeOf();
    const scale = Math.max(place.scale, 0.6 * GRAPH_SCALES.start);
    const inside = (/** @type {number} */ now, /** @type {number} */ from, /** @type {number} */ length, /** @type {number} */ room) => {
      const start = from * scale + now;
      if (start < GRAPH_MARGIN) return GRAPH_MARGIN - from * scale;
      return start + length * scale > room - GRAPH_MARGIN ? room - GRAPH_MARGIN - (from + length) * scale : now;
    };
    const isSeen = inside(place.x, box.x, box.width, width) === place.x && inside(place.y, box.y, box.height, height) === place.y;
    if (isSeen) return;
    mode = "free";
    place = { x: inside(place.x, box.x, box.width, width), y: inside(place.y, box.y, box.height, height), scale };
  }

  /** @param {number} to */
  function goTo(to) {
    const box = picture.boxes[to];
    if (!box) return;
    at = to;
    reveal(box);
    if (box.kind === "step" && box.members.length === 1) {
      selected = vertices[box.members[0]].name;
      context.select(selected);
    }
    paint();
    elementAt(to)?.focus({ preventScroll: true });
  }

  /** @param {number} to */
  function choose(to) {
    const box = picture.boxes[to];
    if (!box) return;
    if (box.members.length === 1) return goTo(to);
    opened.add(box.key);
    isStale = true;
    if (mode === "fit") mode = "start";
    const first = vertices[box.members[0]];
    lay();
    goTo(picture.boxes.findIndex(({ key }) => key === `${first.kind} ${first.name}`));
  }

  function toggleFold() {
    wantsFold = !(isFolded && !opened.size);
    opened = new Set();
    isStale = true;
    mode = "start";
    paint();
  }

  function toFit() {
    mode = "fit";
    paint();
  }

  /** @param {number} factor @param {number} [x] @param {number} [y]  the point that stays */
  function zoom(factor, x = sizeOf()[0] / 2, y = sizeOf()[1] / 2) {
    const scale = Math.min(GRAPH_SCALES.most, Math.max(GRAPH_SCALES.least, place.scale * factor));
    const real = scale / place.scale;
    mode = "free";
    place = { x: x - (x - place.x) * real, y: y - (y - place.y) * real, scale };
    paint();
  }

  /** @param {Event} event */
  function onWheel(event) {
    const wheel = /** @type {WheelEvent} */ (event);
    // Without a modifier the wheel belongs to the notebook.
    if (!wheel.ctrlKey && !wheel.metaKey) return;
    const box = field.getBoundingClientRect();
    zoom(Math.exp(-wheel.deltaY / 300), wheel.clientX - box.left, wheel.clientY - box.top);
    wheel.preventDefault();
  }

  /** @param {Event} event */
  function onPress(event) {
    const press = /** @type {PointerEvent} */ (event);
    wasDragged = false;
    if (press.button !== 0) return;
    const from = place;
    const move = (/** @type {PointerEvent} */ to) => {
      const [x, y] = [to.clientX - press.clientX, to.clientY - press.clientY];
      if (!wasDragged && Math.hypot(x, y) < GRAPH_DRAG) return;
      if (!wasDragged) field.setPointerCapture(press.pointerId);
      wasDragged = true;
      mode = "free";
      place = { x: from.x + x, y: from.y + y, scale: from.scale };
      again.ask();
    };
    const end = () => {
      field.removeEventListener("pointermove", move);
      field.removeEventListener("pointerup", end);
      field.removeEventListener("pointercancel", end);
    };
    field.addEventListener("pointermove", move);
    field.addEventListener("pointerup", end);
    field.addEventListener("pointercancel", end);
  }

  /** @param {Event} event */
  function onClick(event) {
    if (wasDragged) return;
    const el = /** @type {HTMLElement|null} */ (/** @type {Element} */ (event.target).closest("[data-place]"));
    if (el) return choose(Number(el.dataset.place));
    const click = /** @type {MouseEvent} */ (event);
    const frame = field.getBoundingClientRect();
    const x = (click.clientX - frame.left - place.x) / place.scale;
    const y = (click.clientY - frame.top - place.y) / place.scale;
    choose(picture.boxes.findIndex((box) => x >= box.x && x <= box.x + box.width && y >= box.y && y <= box.y + box.height));
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!picture.boxes.length) return false;
    if (event.key === "+" || event.key === "=") zoom(GRAPH_ZOOM);
    else if (event.key === "-") zoom(1 / GRAPH_ZOOM);
    else if (event.key === "0") toFit();
    else if (event.key.startsWith("Arrow") && !tools.contains(/** @type {globalThis.Node} */ (event.target))) {
      goTo(at >= 0 && focusWithin(boxes) ? graphNeighbour(picture, at, event.key) : Math.max(at, 0));
    } else return false;
    return true;
  }

  function hide() {
    if (isOpen) send({ kind: "graph", view, open: false });
    isOpen = false;
  }

  return {
    el,
    paint,
    dispose() {
      again.stop();
      sizes.disconnect();
      hide();
    },
    hide,
    onKey,
  };
}
