// The timeline: which step ran when and where, and who waited meanwhile. Draws only the bars that are in sight.

import { GLYPH, counted, duration, size } from "./words.js";
import { h, keep, say, set, show } from "./dom.js";
import { elapsed, focusWithin, oncePerFrame } from "./parts.js";
import { scheduleClock, scheduleMachines, scheduleMost, scheduleRows, scheduleSeen, scheduleSpan, scheduleStart, scheduleTicks } from "./schedule.js";

/** @typedef {import("./schedule.js").Bar} Bar */
/** @typedef {import("./schedule.js").Row} Row */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {{bar: Bar, row: Row, lane: number, key: string}} Placed */
/** @typedef {{from: number, span: number, isAtNow: boolean}|null} TimelineRange  seconds from the start of the run; null: all of it */

/** Heights in pixels; css/timeline.css has the same. */
const TIMELINE_ROW = 24;
const TIMELINE_LANE = 8;
/** Pixels between two marks of the axis. */
const TIMELINE_TICK = 84;
/** Widths from which a bar has room for its glyph, and for its label. */
const TIMELINE_GLYPH = 16;
const TIMELINE_LABEL = 44;
/** Seconds that can be seen at least. */
const TIMELINE_LEAST = 0.2;
const TIMELINE_ZOOM = 1.6;
/** Share of the range that lies before now when the timeline follows it. */
const TIMELINE_BEFORE = 0.9;
/** Pixels of movement that make a drag of a click. */
const TIMELINE_DRAG = 4;
/** Milliseconds between two rebuilds of very many bars. */
const TIMELINE_REBUILD = 500;
const TIMELINE_MANY = 1000;

/** Pixels that a row takes. @param {Row} row */
function timelineHeight(row) {
  return row.isWait ? Math.max(TIMELINE_ROW, row.lanes.length * TIMELINE_LANE + 8) : TIMELINE_ROW;
}

/**
 * What a bar says when it is pointed at.
 * @param {Bar} bar @param {string} label @param {Row} row @param {number} now @param {string} machine  of the job, or ""
 */
export function timelineWords({ job, from, to, count, isWait, state }, label, row, now, machine) {
  if (count > 1) return [`${counted(count, "step")} ${isWait ? "waiting" : "in a short time"}`, isWait ? "" : "click to look closer"].filter(Boolean);
  if (!job) return [label, `QUEUED, waits ${elapsed(now - from)}`, row.group === "worker" ? "" : row.group].filter(Boolean);
  const took = (to === null ? now : isWait ? (job.ended ?? now) : to) - job.started;
  const held = Object.entries(job.slots).map(([pool, slots]) => `${pool} slot ${slots.join(", ")}`);
  const waited = job.started - job.queued;
  return [
    label,
    `${job.outcome === null ? "RUNNING" : isWait ? job.outcome : state}${job.outcome === "failed" && job.returncode ? `, exit code ${job.returncode}` : ""}`,
    `${waited > 0.05 ? `waited ${duration(waited)}, ` : ""}${job.outcome === null ? `runs ${elapsed(now - job.started)}` : `ran ${duration(took)}`}`,
    [...held, `worker ${job.worker}`, machine && `on ${machine}`].filter(Boolean).join(", "),
    job.peak_rss ? `${size(job.peak_rss)} of memory at most` : "",
  ].filter(Boolean);
}

/** @param {import("./types.js").Context} context @returns {import("./types.js").View} */
export function timelineView(context) {
  const { store } = context;
  /** @type {"pool"|"worker"} */
  let by = "pool";
  let hasWaits = true;
  let isAll = false;
  /** @type {TimelineRange} */
  let range = null;
  /** @type {Row[]} */
  let rows = [];
  /** @type {number[]} where each row begins, and where the last one ends */
  let tops = [0];
  let start = 0;
  /** Seconds from the start to the end of what there is. */
  let total = 0;
  let isLively = false;
  let isShort = false;
  let jobCount = 0;
  let mostWords = "";
  let built = "";
  let builtAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let later;
  /** @type {string} key of the bar that the keyboard is at */
  let focused = "";
  /** @type {Map<string, Placed>} */
  let placed = new Map();
  let wasDragged = false;

  const again = oncePerFrame(paint);
  const byPool = toggle("By pool", () => ((by = "pool"), (focused = "")));
  const byWorker = toggle("By worker", () => ((by = "worker"), (focused = "")));
  const waits = toggle("Waiting", () => (hasWaits = !hasWaits));
  const all = toggle("All runs", () => ((isAll = !isAll), (range = null)));
  const fit = toggle("Fit", () => (range = null));
  const atNow = toggle("Now", followNow);
  const zoomOut = tool("−", "Zoom out ( - )", () => zoom(1 / TIMELINE_ZOOM));
  const zoomIn = tool("+", "Zoom in ( + )", () => zoom(TIMELINE_ZOOM));
  const tools = h(
    "div.tools",
    {},
    h("span.timeline-group", { role: "group", "aria-label": "rows" }, byPool, byWorker),
    waits,
    all,
    h("span.timeline-group.timeline-zoom", { role: "group", "aria-label": "zoom" }, zoomOut, zoomIn, fit, atNow),
  );
  const axis = h("div.timeline-axis", { "aria-hidden": "true" });
  const grid = h("div.timeline-grid", { role: "img" });
  const now = h("div.timeline-now", { "aria-hidden": "true" });
  const nowWords = h("span.timeline-now-words", { "aria-hidden": "true" });
  const labels = h("div.timeline-labels", { "aria-hidden": "true" });
  const bars = h("div.timeline-bars", { role: "group", "aria-label": "jobs" });
  const field = h("div.timeline-field", {}, grid, bars, now);
  const body = h("div.timeline-body.scroll", { tabindex: -1, onscroll: again.ask, onwheel: onWheel, onpointerdown: onPress }, labels, field);
  const tip = h("div.timeline-tip", { "aria-hidden": "true", hidden: true });
  const chart = h("div.timeline-chart", {}, h("div.timeline-top", {}, h("span"), axis), body, tip);
  const empty = h("p.empty", {}, "Nothing has run yet. Each job will stand here as a bar.");
  const legend = h(
    "div.timeline-legend.muted",
    {},
    h("span", {}, h("i.timeline-sample"), "ran"),
    h("span", {}, h("i.timeline-sample.timeline-wait"), "waited"),
    h("span", {}, h("i.timeline-sample.timeline-sample-now"), "now"),
    h("span.timeline-said"),
  );
  const el = h("div.timeline", {}, tools, empty, chart, legend);
  for (const [type, shown] of /** @type {[string, boolean][]} */ ([["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]])) {
    bars.addEventListener(type, (event) => (shown ? showTip(event) : show(tip, false)));
  }

  /** @param {string} name @param {() => void} press */
  function toggle(name, press) {
    return tool(name, null, () => {
      press();
      built = "";
      paint();
    });
  }

  /** @param {string} name @param {string|null} words @param {() => void} press */
  function tool(name, words, press) {
    return h("button.button", { type: "button", title: words, "aria-label": words && words.replace(/ \(.*/, ""), onclick: press }, name);
  }

  function paint() {
    collect();
    const isEmpty = !rows.some((row) => row.lanes.some((lane) => lane.length));
    show(empty, isEmpty);
    for (const part of [chart, legend]) show(part, !isEmpty);
    for (const button of tools.querySelectorAll("button")) set(button, "disabled", isEmpty);
    for (const [button, isOn] of /** @type {[HTMLElement, boolean][]} */ ([
      [byPool, by === "pool"],
      [byWorker, by === "worker"],
      [waits, hasWaits],
      [all, isAll],
      [fit, range === null],
      [atNow, Boolean(range?.isAtNow)],
    ])) set(button, "aria-pressed", String(isOn));
    show(all, isAll || isShort);
    if (!isEmpty) draw();
  }

  function collect() {
    const { session } = store;
    const pools = session.pools.map((pool) => `${pool.name} ${pool.size} ${pool.machines.map(([name]) => name)}`).join("\n");
    const key = [store.version, store.jobs.size, by, hasWaits, isAll, session.workers, session.cluster !== null, pools].join("\n");
    const clock = performance.now();
    if (key === built) return;
    if (built && store.jobs.size > TIMELINE_MANY && clock - builtAt < TIMELINE_REBUILD) {
      later ??= setTimeout(() => {
        later = undefined;
        again.ask();
      }, TIMELINE_REBUILD);
      return;
    }
    built = key;
    builtAt = clock;
    build();
  }

  function build() {
    const { session } = store;
    const jobs = [...store.jobs.values()];
    const waiting = [...store.steps.values()].filter((step) => step.state === "QUEUED" && step.queued !== null && !step.dormant);
    const first = jobs.reduce((least, job) => Math.min(least, job.queued), Infinity);
    const begin = scheduleStart(jobs, waiting);
    isShort = begin !== null && first < begin;
    start = (isAll && isShort ? first : begin) ?? 0;
    const isFar = session.cluster !== null;
    rows = scheduleRows({ jobs, waiting, pools: session.pools, workers: session.workers, by, hasWaits, isFar, since: start });
    tops = [0];
    for (const row of rows) tops.push(tops[tops.length - 1] + timelineHeight(row));
    const current = jobs.filter((job) => job.started >= start);
    jobCount = current.length;
    isLively = waiting.length > 0 || current.some((job) => job.outcome === null);
    total = current.reduce((most, job) => Math.max(most, job.ended ?? job.started), start) - start;
    describe(current, isFar);
  }

  /** How many ran at a time, for those who do not see the picture. @param {Job[]} jobs @param {boolean} isFar */
  function describe(jobs, isFar) {
    const machines = scheduleMachines(jobs, isFar).size;
    /** @type {Map<string, Job[]>} */
    const pools = new Map();
    for (const job of jobs) {
      for (const pool of Object.keys(job.slots)) {
        const held = pools.get(pool);
        if (held) held.push(job);
        else pools.set(pool, [job]);
      }
    }
    const inPools = [...pools].slice(0, 5).map(([pool, held]) => `, at most ${scheduleMost(held)} at a time in pool ${pool}`);
    mostWords = [machines > 1 ? ` on ${machines} machines` : "", ...inPools].join("");
  }

  function drawWords() {
    const words = `${counted(jobCount, "job")} over ${isLively ? elapsed(length()) : duration(length())}${mostWords}`;
    set(grid, "aria-label", `timeline of ${words}`);
    say(/** @type {Element} */ (legend.lastElementChild), words);
  }

  /** Seconds from the start until now, or until the end when nothing is going on. */
  function length() {
    return isLively ? Math.max(total, context.now() - start) : total;
  }

  /** What is in sight, in seconds from the start. */
  function sight() {
    if (range?.isAtNow) range.from = length() - range.span * TIMELINE_BEFORE;
    if (range) return range;
    return { from: 0, span: isLively ? scheduleSpan(length() * 1.02) : Math.max(length() * 1.02, TIMELINE_LEAST) };
  }

  function draw() {
    const width = field.clientWidth || 600;
    const { from, span } = sight();
    const scale = width / span;
    const toX = (/** @type {number} */ at) => (at - start - from) * scale;
    drawWords();
    drawAxis(from, span, width);
    labels.style.height = field.style.height = `${tops[tops.length - 1]}px`;
    const [first, end] = rowsInSight();
    drawLabels(first, end);
    drawBars(first, end, toX, width, span / width, from);
    const x = toX(context.now());
    const isShown = isLively && x >= 0 && x <= width;
    show(now, isShown);
    show(nowWords, isShown);
    if (isShown) now.style.transform = nowWords.style.transform = `translateX(${x.toFixed(1)}px)`;
    if (isShown) say(nowWords, scheduleClock(Math.floor(length()), 1));
    set(zoomIn, "disabled", span <= TIMELINE_LEAST);
  }

  /** @param {number} from @param {number} span @param {number} width */
  function drawAxis(from, span, width) {
    const ticks = scheduleTicks(from, from + span, width / TIMELINE_TICK);
    const place = (/** @type {HTMLElement} */ mark, /** @type {{at: number, words: string}} */ tick) => {
      mark.style.transform = `translateX(${(((tick.at - from) / span) * width).toFixed(1)}px)`;
    };
    keep(axis, ticks, ({ at }) => String(at), () => h("span.timeline-tick"), (mark, tick) => {
      place(mark, tick);
      // Half a number at the edge would be a wrong one.
      say(mark, ((from + span - tick.at) / span) * width < TIMELINE_TICK / 2 ? "" : tick.words);
    });
    axis.append(nowWords);
    keep(grid, ticks, ({ at }) => String(at), () => h("span.timeline-line"), place);
  }

  function rowsInSight() {
    const top = body.scrollTop;
    const bottom = top + (body.clientHeight || 400);
    let first = 0;
    while (first < rows.length && tops[first + 1] < top) first++;
    let end = first;
    while (end < rows.length && tops[end] < bottom) end++;
    return [first, end];
  }

  /** @param {number} first @param {number} end */
  function drawLabels(first, end) {
    const numbers = Array.from({ length: end - first }, (_, at) => first + at);
    // The machine of the rows in sight stays in sight, above the first of them.
    let head = first;
    while (head >= 0 && !rows[head]?.isHead) head--;
    if (head >= 0 && head < first) numbers.unshift(head);
    let next = first + 1;
    while (next < rows.length && !rows[next].isHead) next++;
    const pinned = Math.min(body.scrollTop, tops[next] - TIMELINE_ROW);
    const named = head >= 0 && pinned > tops[head] ? first + 1 : first;
    const make = () => h("div.timeline-label", {}, h("span.timeline-name.line"), h("span.line"));
    keep(labels, numbers, (at) => rows[at].key, make, (label, at) => {
      const row = rows[at];
      const isFirst = at === 0 || rows[at - 1].group !== row.group || rows[at - 1].isHead;
      label.style.transform = `translateY(${at === head ? Math.max(tops[at], pinned) : tops[at]}px)`;
      label.style.height = `${timelineHeight(row)}px`;
      set(label, "data-head", row.isHead);
      set(label, "data-first", isFirst && at > 0 && !row.isHead && !rows[at - 1].isHead);
      const [group, name] = label.children;
      say(group, row.isHead ? row.name : isFirst || at === first || at === named ? row.group : "");
      set(group, "title", row.isHead || !row.machine ? row.group || row.name : `${row.group} on ${row.machine}`);
      say(name, row.isHead ? "" : row.name);
    });
  }

  /**
   * @param {number} first @param {number} end @param {(at: number) => number} toX
   * @param {number} width @param {number} pixel @param {number} from
   */
  function drawBars(first, end, toX, width, pixel, from) {
    const time = context.now();
    const begin = start + from;
    /** @type {Map<string, Placed>} */
    const seen = new Map();
    for (let at = first; at < end; at++) {
      const row = rows[at];
      row.lanes.forEach((bars, lane) => {
        const prefix = `${row.key}\n${lane}\n`;
        const alone = focused.startsWith(prefix) ? focused.slice(prefix.length) : "";
        for (const bar of scheduleSeen(bars, begin, begin + width * pixel, time, pixel, alone)) {
          seen.set(prefix + bar.key, { bar, row, lane, key: prefix + bar.key });
        }
      });
    }
    placed = seen;
    const inOrder = new Map(rows.map((row, at) => [row, tops[at]]));
    const reachable = seen.has(focused) ? focused : (seen.keys().next().value ?? "");
    const hadFocus = focusWithin(bars);
    keep(bars, seen.values(), ({ key }) => key, makeBar, (el, place) => {
      updateBar(el, place, Number(inOrder.get(place.row)), toX, width, time);
      set(el, "tabindex", place.key === reachable ? 0 : -1);
    });
    if (hadFocus && !focusWithin(bars)) (elementOf(focused) ?? body).focus({ preventScroll: true });
  }

  /** @param {Placed} place */
  function makeBar({ key, bar }) {
    return h(bar.isWait ? "button.timeline-bar.timeline-wait" : "button.timeline-bar", {
      type: "button",
      "data-key": key,
      onclick: () => press(key),
      ondblclick: () => placed.get(key)?.bar.count === 1 && context.select(placed.get(key)?.bar.step ?? null, { tab: "Log" }),
      onfocus: () => (focused = key),
    });
  }

  /**
   * @param {HTMLElement} el @param {Placed} place @param {number} top
   * @param {(at: number) => number} toX @param {number} width @param {number} time
   */
  function updateBar(el, { bar, row, lane }, top, toX, width, time) {
    // Only what can be seen of it, so that the label begins where one can read it.
    const left = Math.max(-4, toX(bar.from));
    const right = Math.min(width + 4, toX(bar.to ?? time));
    const wide = Math.max(bar.isWait ? 2 : 3, right - left - 1);
    const y = top + (row.isWait ? 6 + lane * TIMELINE_LANE : 0);
    el.style.transform = `translate(${left.toFixed(1)}px, ${y}px)`;
    el.style.width = `${wide.toFixed(1)}px`;
    set(el, "data-state", bar.state);
    set(el, "data-open", bar.to === null);
    set(el, "data-many", bar.count > 1 || wide < TIMELINE_GLYPH);
    set(el, "aria-current", bar.count === 1 && bar.step === context.selected() ? "true" : null);
    const label = labelOf(bar);
    set(el, "aria-label", timelineWords(bar, label, row, time, store.machineOf(bar.job)).join(", "));
    const text = bar.count > 1 ? String(bar.count) : `${GLYPH[bar.state]} ${label}`;
    say(el, bar.isWait || wide < TIMELINE_GLYPH ? "" : wide < TIMELINE_LABEL && bar.count === 1 ? GLYPH[bar.state] : text);
  }

  /** @param {Bar} bar */
  function labelOf(bar) {
    return store.steps.get(bar.step)?.label ?? bar.step;
  }

  /** @param {string} key @returns {HTMLElement|undefined} */
  function elementOf(key) {
    return /** @type {HTMLElement[]} */ ([...bars.children]).find((el) => el.dataset.key === key);
  }

  /** @param {string} key */
  function press(key) {
    const place = placed.get(key);
    if (!place || wasDragged) return;
    if (place.bar.count === 1) context.select(place.bar.step);
    else if (!place.bar.isWait) lookAt(place.bar);
    paint();
  }

  /** Zoom in on bars that stand together. @param {Bar} bar */
  function lookAt(bar) {
    const span = Math.max(TIMELINE_LEAST, ((bar.to ?? context.now()) - bar.from) * 1.2);
    range = { from: bar.from - start - span * 0.08, span, isAtNow: false };
  }

  /** @param {Event} event */
  function showTip(event) {
    const el = /** @type {HTMLElement|null} */ (/** @type {Element} */ (event.target).closest("[data-key]"));
    const place = el && placed.get(el.dataset.key ?? "");
    if (!el || !place) return;
    const words = timelineWords(place.bar, labelOf(place.bar), place.row, context.now(), store.machineOf(place.bar.job));
    tip.replaceChildren(...words.map((text) => h("div", {}, text)));
    show(tip, true);
    const [box, frame] = [el.getBoundingClientRect(), chart.getBoundingClientRect()];
    const isBelow = box.bottom - frame.top + tip.offsetHeight + 6 < frame.height || box.top - frame.top < tip.offsetHeight + 6;
    const left = Math.min(Math.max(0, box.left - frame.left), Math.max(0, frame.width - tip.offsetWidth - 8));
    const top = isBelow ? box.bottom - frame.top + 5 : box.top - frame.top - tip.offsetHeight - 5;
    tip.style.transform = `translate(${left.toFixed(0)}px, ${top.toFixed(0)}px)`;
  }

  /** @param {number} factor @param {number} [share]  of the width, the point that stays */
  function zoom(factor, share = focusedShare()) {
    const { from, span } = sight();
    const most = Math.max(scheduleSpan(length()), TIMELINE_LEAST);
    const next = Math.min(most, Math.max(TIMELINE_LEAST, span / factor));
    const isAtNow = Boolean(range?.isAtNow);
    range = next >= most ? null : { from: bound(from + (span - next) * share, next), span: next, isAtNow };
    paint();
  }

  /** Where the bar with the focus is, as a share of the width; else the middle. */
  function focusedShare() {
    const bar = placed.get(focused)?.bar;
    if (!bar || !focusWithin(bars)) return 0.5;
    const { from, span } = sight();
    const middle = (bar.from + (bar.to ?? context.now())) / 2;
    return Math.min(1, Math.max(0, (middle - start - from) / span));
  }

  /** A beginning that leaves something in sight. @param {number} from @param {number} span */
  function bound(from, span) {
    return Math.max(-span / 2, Math.min(from, length() - span / 2));
  }

  /** @param {number} seconds */
  function pan(seconds) {
    const { from, span } = sight();
    range = { from: bound(from + seconds, span), span, isAtNow: false };
    paint();
  }

  function followNow() {
    if (range?.isAtNow) range.isAtNow = false;
    else range = { from: 0, span: range?.span ?? Math.min(60, Math.max(5, scheduleSpan(length()) / 2)), isAtNow: true };
  }

  /** @param {Event} event */
  function onWheel(event) {
    const wheel = /** @type {WheelEvent} */ (event);
    const box = field.getBoundingClientRect();
    const isSideways = wheel.shiftKey || Math.abs(wheel.deltaX) > Math.abs(wheel.deltaY);
    if (wheel.ctrlKey || wheel.metaKey) zoom(Math.exp(-wheel.deltaY / 300), (wheel.clientX - box.left) / box.width);
    else if (isSideways && range) pan(((wheel.deltaX || wheel.deltaY) / box.width) * sight().span);
    else return;
    wheel.preventDefault();
  }

  /** Drag the picture. @param {Event} event */
  function onPress(event) {
    const press = /** @type {PointerEvent} */ (event);
    wasDragged = false;
    if (press.button !== 0 || press.offsetX > body.clientWidth) return;
    const { from, span } = sight();
    const move = (/** @type {PointerEvent} */ to) => {
      const way = to.clientX - press.clientX;
      if (!wasDragged && Math.abs(way) < TIMELINE_DRAG) return;
      if (!wasDragged) body.setPointerCapture(press.pointerId);
      wasDragged = true;
      range = { from: bound(from - (way / field.clientWidth) * span, span), span, isAtNow: false };
      again.ask();
    };
    const end = () => {
      body.removeEventListener("pointermove", move);
      body.removeEventListener("pointerup", end);
      body.removeEventListener("pointercancel", end);
    };
    body.addEventListener("pointermove", move);
    body.addEventListener("pointerup", end);
    body.addEventListener("pointercancel", end);
  }

  /** Where the bar with the focus is among all. @returns {{row: number, lane: number, at: number}|null} */
  function whereabouts() {
    for (const [row, { key, lanes }] of rows.entries()) {
      if (!focused.startsWith(`${key}\n`)) continue;
      for (const [lane, bars] of lanes.entries()) {
        const at = bars.findIndex((bar) => focused === `${key}\n${lane}\n${bar.key}`);
        if (at >= 0) return { row, lane, at };
      }
    }
    return null;
  }

  /** @param {number} row @param {number} lane @param {number} at */
  function focusAt(row, lane, at) {
    const bar = rows[row].lanes[lane][at];
    focused = `${rows[row].key}\n${lane}\n${bar.key}`;
    if (range) {
      const [from, to] = [bar.from - start, (bar.to ?? context.now()) - start];
      if (to < range.from || from > range.from + range.span) range = { ...range, from: from - range.span * 0.1, isAtNow: false };
    }
    if (tops[row] < body.scrollTop) body.scrollTop = tops[row];
    else if (tops[row + 1] > body.scrollTop + body.clientHeight) body.scrollTop = tops[row + 1] - body.clientHeight;
    paint();
    elementOf(focused)?.focus({ preventScroll: true });
  }

  /** Along the lane. @param {number} by */
  function along(by) {
    const here = whereabouts();
    if (!here) return across(1);
    const lane = rows[here.row].lanes[here.lane];
    focusAt(here.row, here.lane, Math.max(0, Math.min(lane.length - 1, here.at + by)));
  }

  /** To the next lane that has a bar, at about the same time. @param {number} by */
  function across(by) {
    const lanes = rows.flatMap((row, at) => row.lanes.map((bars, lane) => ({ bars, at, lane }))).filter(({ bars }) => bars.length);
    const here = whereabouts();
    const from = here ? lanes.findIndex(({ at, lane }) => at === here.row && lane === here.lane) : -1;
    const to = lanes[Math.max(0, Math.min(lanes.length - 1, from + by))];
    if (!to || to === lanes[from]) return;
    const time = here ? rows[here.row].lanes[here.lane][here.at].from : -Infinity;
    const near = to.bars.reduce((best, bar, at) => (Math.abs(bar.from - time) < Math.abs(to.bars[best].from - time) ? at : best), 0);
    focusAt(to.at, to.lane, here ? near : 0);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!rows.length) return false;
    const isInTools = tools.contains(/** @type {Node} */ (event.target));
    const { span } = sight();
    /** @type {Record<string, () => void>} */
    const keys = {
      "+": () => zoom(TIMELINE_ZOOM),
      "=": () => zoom(TIMELINE_ZOOM),
      "-": () => zoom(1 / TIMELINE_ZOOM),
      0: () => ((range = null), paint()),
      ArrowRight: () => (event.shiftKey ? pan(span / 8) : along(1)),
      ArrowLeft: () => (event.shiftKey ? pan(-span / 8) : along(-1)),
      ArrowDown: () => across(1),
      ArrowUp: () => across(-1),
      Home: () => along(-Infinity),
      End: () => along(Infinity),
    };
    if (!Object.hasOwn(keys, event.key) || (isInTools && event.key.startsWith("Arrow"))) return false;
    keys[event.key]();
    return true;
  }

  return {
    el,
    paint,
    dispose() {
      again.stop();
      clearTimeout(later);
    },
    onKey,
  };
}
