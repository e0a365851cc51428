// Pools as lanes: each slot a place, free or taken; then the queue, in the order in which its steps start.

import { counted, occupancy, size, slotsOf } from "./words.js";
import { h, keep, say, set, show } from "./dom.js";
import { glyph, isLive, nameOf, setGlyph, spin } from "./controls.js";
import { failedList } from "./failed.js";
import { seatsElapsed, seatsFree, seatsMarked, seatsNone, seatsPlan, seatsShare, seatsTitle } from "./seats.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./seats.js").Lane} Lane */
/** @typedef {import("./seats.js").Seat} Seat */
/** @typedef {{el: HTMLElement, spin: import("./controls.js").Spin|null, paint: (lane: Lane) => void}} LaneParts */

/** @param {Context} context @returns {import("./types.js").View} */
export function lanesView(context) {
  const { store } = context;
  /** @type {import("./seats.js").Plan} */
  let plan = { lanes: [], failed: [], moreFailed: 0 };
  let version = -1;
  /** @type {import("./types.js").Session|null} */
  let session = null;
  /** @type {WeakMap<Element, LaneParts>} */
  const partsOf = new WeakMap();
  /** The one step that Tab stops at. @type {HTMLElement|null} */
  let current = null;

  const list = h("div.lane-list");
  const failed = failedList(context);
  const empty = h("div.empty", {}, "No pools yet. ", h("span.code", {}, "%pool test 2"), " in a cell makes one with two slots.");
  const el = h("div.lanes.scroll", { onclick, ondblclick, onfocusin }, empty, list, failed.el);

  /** @param {Lane} lane */
  function make(lane) {
    const parts = lanesLane(context, lane);
    partsOf.set(parts.el, parts);
    return parts.el;
  }

  function paint() {
    if (version !== store.version || session !== store.session) {
      version = store.version;
      session = store.session;
      plan = seatsPlan(session, store.steps);
    }
    const focused = el.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
    show(empty, !plan.lanes.length);
    keep(list, plan.lanes, (lane) => lane.key, make, (each, lane) => partsOf.get(each)?.paint(lane));
    failed.paint(plan);
    rove(current?.isConnected && !current.hidden ? current : (lanesSteps(el)[0] ?? null));
    // When its place is given up, the focus stays in the panel, and the keys with it.
    if (focused && focused !== el && (!focused.isConnected || focused.closest("[hidden]"))) {
      if (current) current.focus({ preventScroll: true });
      else list.querySelector("input")?.focus({ preventScroll: true });
    }
  }

  /** @param {HTMLElement|null} next */
  function rove(next) {
    if (next === current) return;
    if (current) lanesStop(current, false);
    current = next;
    if (current) lanesStop(current, true);
  }

  /** @param {Event} event */
  function onclick(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const verb = target.closest("[data-verb]")?.getAttribute("data-verb");
    const name = target.closest("[data-step]")?.getAttribute("data-step");
    if (name === null || name === undefined) return;
    if (verb === "cancel" || verb === "rerun") context.act(verb, { step: name });
    else if (target.closest("[data-pick]")) context.select(name);
  }

  /** @param {Event} event */
  function ondblclick(event) {
    const picked = /** @type {HTMLElement} */ (event.target).closest("[data-pick]");
    const name = picked?.closest("[data-step]")?.getAttribute("data-step");
    if (name) context.select(name, { tab: "Log" });
  }

  /** @param {Event} event */
  function onfocusin(event) {
    const picked = /** @type {HTMLElement} */ (event.target).closest("[data-pick]");
    if (picked) rove(/** @type {HTMLElement} */ (picked));
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    return lanesMove(el, target, event.key) || onLaneKey(target, event.key) || onStepKey(target, event.key);
  }

  /** @param {HTMLElement} target @param {string} key */
  function onLaneKey(target, key) {
    const lane = target.closest(".snb-lane");
    const parts = lane && partsOf.get(lane);
    if (!parts || !isLive(store)) return false;
    if (key === "+" || key === "=") parts.spin?.step(1);
    else if (key === "-") parts.spin?.step(-1);
    else if (key === "p") /** @type {HTMLElement|null} */ (parts.el.querySelector("[data-part=pause]"))?.click();
    else return false;
    return true;
  }

  /** @param {HTMLElement} target @param {string} key */
  function onStepKey(target, key) {
    const place = target.closest("[data-step]");
    const name = place?.getAttribute("data-step");
    if (!place || !name) return false;
    const button = (/** @type {string} */ verb) => /** @type {HTMLElement|null} */ (place.querySelector(`[data-verb=${verb}]`));
    if (key === "Enter" && target.matches("[data-pick]")) context.select(name, { tab: "Log" });
    // Only Enter on the button then cancels: one letter must not end hours of work.
    else if (key === "x") button("cancel")?.focus();
    else if (key === "r") button("rerun")?.click();
    else return false;
    return true;
  }

  return { el, paint, onKey, dispose() {} };
}

/** The steps one can go through, in the order of the page. @param {HTMLElement} el @returns {HTMLElement[]} */
function lanesSteps(el) {
  return /** @type {HTMLElement[]} */ ([...el.querySelectorAll("[data-pick]:not([hidden])")]);
}

/** Let Tab stop at a step and at its button, or not. @param {HTMLElement} pick @param {boolean} isStop */
function lanesStop(pick, isStop) {
  set(pick, "tabindex", isStop ? 0 : -1);
  const button = pick.parentElement?.querySelector("[data-verb]");
  if (button) set(button, "tabindex", isStop ? 0 : -1);
}

/** @param {HTMLElement} el @param {HTMLElement} target @param {string} key */
function lanesMove(el, target, key) {
  const way = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, Home: -Infinity, End: Infinity }[key];
  if (way === undefined) return false;
  const steps = lanesSteps(el).filter((step) => step.offsetParent);
  const place = target.closest("[data-step]");
  const at = steps.findIndex((step) => step === target || step.parentElement === place);
  if (at < 0 && !el.contains(target)) return false;
  const next = at < 0 ? 0 : at + way;
  steps[Math.min(steps.length - 1, Math.max(0, next))]?.focus();
  return true;
}

/** @param {Context} context @param {Lane} first @returns {LaneParts} */
function lanesLane(context, first) {
  const head = first.pool ? lanesPoolHead(context, first.pool.name) : lanesFreeHead();
  const seats = h("ul.seats", { "aria-label": "slots" });
  const machines = h("div.machines");
  const none = h("div.seats-none.muted");
  const queue = lanesQueue(context);
  const body = h("div.lane-body", {}, seats, machines, none);
  const toggle = h("button.button.plain.lane-toggle", { type: "button", "aria-label": lanesToggleName(first), onclick: flip }, "▸");
  const el = h("section.lane", { "aria-label": first.pool ? `lane of ${first.pool.name}` : "lane without a pool" });
  head.title.append(toggle);
  el.append(head.el, body, queue.el);
  setOpen(false);

  function flip() {
    setOpen(toggle.getAttribute("aria-expanded") !== "true");
  }
  /** @param {boolean} isOpen */
  function setOpen(isOpen) {
    set(toggle, "aria-expanded", String(isOpen));
    say(toggle, isOpen ? "▾" : "▸");
    set(el, "data-open", isOpen);
  }

  /** @type {Lane} */
  let lane = first;
  return {
    el,
    spin: head.spin,
    paint(next) {
      lane = next;
      head.paint(lane);
      show(seats, lane.seats.length > 0);
      show(machines, lane.machines.length > 0);
      show(none, !lane.seats.length && !lane.machines.length);
      say(none, seatsNone(lane));
      lanesPaintSeats(context, seats, lane.seats, lane);
      keep(machines, lane.machines, (machine) => machine.key, lanesMachine, (each, machine) => lanesPaintMachine(context, each, machine, lane));
      queue.paint(lane);
    },
  };
}

/** @param {Context} context @param {HTMLElement} list @param {Seat[]} seats @param {Lane} lane */
function lanesPaintSeats(context, list, seats, lane) {
  set(list, "data-dense", lane.isDense);
  keep(list, seats, (seat) => seat.key, lanesSeat, (each, seat) => lanesPaintSeat(context, each, seat, lane));
}

/** The places of a pool on one machine, under its name. */
function lanesMachine() {
  const head = h("div.machine-head", {}, h("span.machine-name.line.label"), h("span.muted"));
  return h("div.machine", {}, head, h("ul.seats"));
}

/** @param {Context} context @param {HTMLElement} el @param {import("./seats.js").Machine} machine @param {Lane} lane */
function lanesPaintMachine(context, el, machine, lane) {
  const [head, list] = /** @type {HTMLElement[]} */ ([...el.children]);
  const [name, words] = head.children;
  say(name, machine.name);
  set(name, "title", machine.name);
  say(words, machine.words);
  set(list, "aria-label", `slots on ${machine.name}`);
  show(list, machine.seats.length > 0);
  lanesPaintSeats(context, list, machine.seats, lane);
}

/** @param {Lane} lane */
function lanesToggleName({ pool }) {
  return pool ? `slots of pool ${pool.name}` : "steps without a pool";
}

/** @param {Context} context @param {string} name */
function lanesPoolHead({ store, act }, name) {
  const poolNow = () => store.session.pools.find((pool) => pool.name === name);
  const badge = h("span.badge");
  const short = h("span.lane-short", { "aria-hidden": "true" });
  const title = h("div.lane-title", {}, h("b.lane-name.line.label", { title: name }, name), badge, short);
  const words = h("span.lane-words");
  const fill = h("span");
  const bar = h("span.bar", {}, fill);
  const meter = h("div.lane-meter", { role: "meter", "aria-label": `pool ${name}`, "aria-valuemin": 0 }, words, bar);
  const refusal = h("div.refusal", { role: "alert" });
  const field = spin({
    name: `size of pool ${name}`,
    fewer: `one slot fewer in pool ${name}`,
    more: `one slot more in pool ${name}`,
    least: 0,
    mayBeNone: true,
    fromNone: () => Math.max(1, poolNow()?.used ?? 1),
    onSet: (value) => act("resize", { pool: name, size: value }),
    onRefused: (why) => {
      say(refusal, why);
      show(refusal, why !== "");
    },
  });
  const pause = h("button.button.plain", { type: "button", "data-part": "pause", onclick: flip });
  const sizeWord = h("span.muted");
  show(refusal, false);

  function flip() {
    act(poolNow()?.paused ? "resume" : "pause", { pool: name });
  }

  return {
    el: h("div.lane-head", {}, title, meter, h("div.lane-controls", {}, sizeWord, field.el, pause), refusal),
    title,
    spin: field,
    /** @param {Lane} lane */
    paint({ pool }) {
      if (!pool) return;
      const live = isLive(store);
      const slots = slotsOf(pool);
      const state = pool.paused ? "paused" : pool.size === 0 ? "closed" : "";
      say(sizeWord, pool.machines.length > 1 ? "each" : "size");
      set(sizeWord, "title", pool.machines.length > 1 && "slots on each machine");
      say(badge, state);
      show(badge, state !== "");
      say(short, lanesShort(pool));
      say(words, occupancy(pool));
      set(meter, "aria-valuenow", pool.used);
      set(meter, "aria-valuemax", slots);
      set(meter, "aria-valuetext", occupancy(pool));
      const share = slots ? Math.min(1, pool.used / slots) : pool.used ? 1 : 0;
      fill.style.width = `${100 * share}%`;
      set(bar, "data-unknown", pool.size === null);
      field.paint(pool.size, live);
      say(pause, pool.paused ? "Resume" : "Pause");
      set(pause, "aria-label", `${pool.paused ? "Resume" : "Pause"} pool ${name}`);
      set(pause, "disabled", !live);
    },
  };
}

/** All of a pool in a few signs, for a narrow panel. @param {import("./types.js").Pool} pool */
function lanesShort(pool) {
  const waiting = pool.waiting ? `+${pool.waiting}` : "";
  if (pool.size === 0 && !pool.used) return waiting;
  return `${pool.used}${pool.size === null ? "" : `/${slotsOf(pool)}`} ${waiting}`;
}

function lanesFreeHead() {
  const short = h("span.lane-short", { "aria-hidden": "true" });
  const title = h("div.lane-title", {}, h("b.lane-name.muted", {}, "no pool"), short);
  const words = h("span.lane-words");
  return {
    el: h("div.lane-head", {}, title, h("div.lane-meter", {}, words)),
    title,
    spin: null,
    /** @param {Lane} lane */
    paint({ seats, queue, more }) {
      const waiting = queue.length + more;
      say(short, `${seats.length}${waiting ? ` +${waiting}` : ""}`);
      say(words, `${counted(seats.length, "step")} running, limited by workers only, ${waiting} waiting`);
    },
  };
}

/** The place for one slot: made once, whoever sits in it. */
function lanesSeat() {
  return h(
    "li.seat",
    {},
    h(
      "button.seat-main",
      { type: "button", "data-pick": true, tabindex: -1 },
      h("span.seat-top", {}, glyph("RUNNING"), h("span.seat-label.line.label"), h("span.seat-mark.line")),
      h("span.seat-time.line"),
      h("span.bar", {}, h("span.seat-fill", { "data-state": "RUNNING" })),
      h("span.seat-facts", {}, h("span.seat-last.code.line.label"), h("span.seat-memory")),
    ),
    h("button.button.plain.seat-cancel", { type: "button", "data-verb": "cancel", tabindex: -1 }, "×"),
    h("span.seat-free", {}, h("span.seat-words.line.label"), h("span.seat-mark.line")),
  );
}

/** @param {Context} context @param {HTMLElement} el @param {Seat} seat @param {Lane} lane */
function lanesPaintSeat(context, el, seat, lane) {
  const [main, cancel, free] = /** @type {HTMLElement[]} */ ([...el.children]);
  const isTaken = seat.kind === "taken" && seat.step !== null;
  set(el, "data-kind", seat.kind);
  set(el, "data-leaves", seat.leaves);
  set(el, "data-reserved", seat.kind === "free" && lane.pool?.reserved !== null && lane.pool !== null);
  set(el, "data-step", seat.step?.name);
  show(main, isTaken);
  show(cancel, isTaken && isLive(context.store));
  show(free, !isTaken);
  if (isTaken && seat.step) lanesPaintTaken(context, main, cancel, seat, seat.step);
  else lanesPaintFree(context, free, seat, lane);
}

/** @param {Context} context @param {HTMLElement} main @param {HTMLElement} cancel @param {Seat} seat @param {Step} step */
function lanesPaintTaken(context, main, cancel, seat, step) {
  const [top, time, bar, facts] = /** @type {HTMLElement[]} */ ([...main.children]);
  const now = context.now();
  const share = seatsShare(step, now);
  const mark = seatsMarked(seat);
  say(/** @type {HTMLElement} */ (top.children[1]), step.label);
  say(/** @type {HTMLElement} */ (top.children[2]), mark);
  say(time, seatsElapsed(step, now));
  say(/** @type {HTMLElement} */ (facts.children[0]), step.last);
  say(/** @type {HTMLElement} */ (facts.children[1]), step.peak === null ? "" : size(step.peak));
  set(main, "aria-label", nameOf(step, mark, time.textContent));
  set(main, "title", seatsTitle(seat, step, context.store.machineOf(step)));
  set(main, "aria-current", context.selected() === step.name && "true");
  set(cancel, "aria-label", `Cancel ${step.label}`);
  set(cancel, "title", `Cancel ${step.label}`);
  set(bar, "data-unknown", share === null);
  lanesFill(bar, share ?? 0, `${step.name} ${step.job}`);
}

/**
 * A fill that moves smoothly while one job runs, and starts afresh with the next.
 * @param {HTMLElement} bar @param {number} share @param {string} job
 */
function lanesFill(bar, share, job) {
  let fill = /** @type {HTMLElement} */ (bar.firstChild);
  const owner = /** @type {{job?: string}} */ (/** @type {unknown} */ (fill));
  if (owner.job !== undefined && owner.job !== job) {
    fill = h("span.seat-fill", { "data-state": "RUNNING" });
    bar.replaceChildren(fill);
  }
  /** @type {{job?: string}} */ (/** @type {unknown} */ (fill)).job = job;
  fill.style.transform = `scaleX(${share.toFixed(4)})`;
}

/** @param {Context} context @param {HTMLElement} free @param {Seat} seat @param {Lane} lane */
function lanesPaintFree(context, free, seat, lane) {
  const [words, mark] = /** @type {HTMLElement[]} */ ([...free.children]);
  const isRest = seat.kind === "rest";
  const vacancy = lane.pool ? seatsFree(lane.pool, context.store.session.paused) : "";
  say(words, seat.kind === "also" ? `with ${seat.step?.label ?? ""}` : isRest ? seat.mark : vacancy);
  say(mark, isRest ? "" : seatsMarked(seat));
  set(free, "title", isRest && lane.pool?.reserved ? vacancy : `${words.textContent}${seat.mark ? `\n${seat.mark}` : ""}`);
}

/** @param {Context} context */
function lanesQueue(context) {
  const head = h("div.queue-head.muted");
  const list = h("ol.queue-list");
  const more = h("div.queue-more.muted");
  const inner = h("div.queue-inner.scroll", {}, head, list, more);
  return {
    el: h("div.queue", {}, inner),
    /** @param {Lane} lane */
    paint({ queue, more: others }) {
      const waiting = queue.length + others;
      say(head, waiting ? `queue, ${waiting} waiting` : "queue, empty");
      const first = queue[0];
      keep(list, queue, (step) => step.name, lanesWaiting, (el, step) => lanesPaintWaiting(context, el, step, step === first));
      show(more, others > 0);
      say(more, `+${others} more`);
    },
  };
}

function lanesWaiting() {
  return h(
    "li.waiting",
    {},
    h(
      "button.waiting-main",
      { type: "button", "data-pick": true, tabindex: -1 },
      glyph("QUEUED"),
      h("span.waiting-label.line.label"),
      h("span.badge", {}, "next"),
      h("span.waiting-reason.line.muted"),
    ),
    h("button.button.plain.seat-cancel", { type: "button", "data-verb": "cancel", tabindex: -1 }, "×"),
  );
}

/** @param {Context} context @param {HTMLElement} el @param {Step} step @param {boolean} isNext */
function lanesPaintWaiting(context, el, step, isNext) {
  const [main, cancel] = /** @type {HTMLElement[]} */ ([...el.children]);
  const [sign, label, badge, reason] = /** @type {HTMLElement[]} */ ([...main.children]);
  set(el, "data-step", step.name);
  setGlyph(sign, step.state);
  say(label, step.label);
  say(reason, step.reason);
  show(badge, isNext);
  set(main, "aria-label", nameOf(step, isNext ? "next" : null, step.reason));
  set(main, "title", step.reason ? `${step.label}\n${step.reason}` : step.label);
  set(main, "aria-current", context.selected() === step.name && "true");
  set(cancel, "aria-label", `Cancel ${step.label}`);
  set(cancel, "title", `Cancel ${step.label}`);
  show(cancel, isLive(context.store));
}
