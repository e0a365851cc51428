// The head of the panel: how far all is, and what can be done to all. In compact mode it is one line, for slides.

import { STATES, counted, roughly, size, slotsOf } from "./words.js";
import { h, keep, say, set, show } from "./dom.js";
import { glyph, isLive, spin } from "./controls.js";

/** States that are counted even when there are none, so that the line stays still. @type {import("./types.js").State[]} */
const HEADER_ALWAYS = ["RUNNING", "QUEUED", "PENDING", "SUCCEEDED", "FAILED"];

/**
 * @param {import("./types.js").Context} context
 * @param {{setCompact: (isCompact: boolean) => void}} options
 * @returns {{el: HTMLElement, paint: (isCompact: boolean) => void}}
 */
export function headerView(context, { setCompact }) {
  const full = headerFull(context, () => setCompact(true));
  const compact = headerCompact(context, () => setCompact(false));
  return {
    el: h("div.header", {}, full.el, compact.el),
    paint(isCompact) {
      show(full.el, !isCompact);
      show(compact.el, isCompact);
      (isCompact ? compact : full).paint();
    },
  };
}

/** @param {import("./types.js").Context} context @param {() => void} shrink */
function headerFull(context, shrink) {
  const notebook = h("span.notebook.line.label.muted");
  const counts = h("ul.counts", { "aria-label": "steps by state" });
  const progress = headerProgress(context);
  const controls = headerControls(context);
  const cluster = headerCluster(context);
  const toggle = h("button.button.plain", { type: "button", onclick: shrink, title: "One line, for slides" }, "Compact");
  return {
    el: h(
      "div.head",
      {},
      h("div.head-title", {}, h("span.title", {}, "StepUp"), notebook, cluster.el, toggle),
      h("div.head-row", {}, counts, progress.el),
      controls.el,
    ),
    paint() {
      const { session } = context.store;
      say(notebook, session.notebook);
      const states = STATES.filter((state) => headerCount(session, state) || HEADER_ALWAYS.includes(state));
      keep(counts, states, (state) => state, headerTally, (el, state) => {
        const number = headerCount(session, state);
        say(/** @type {HTMLElement} */ (el.children[1]), String(number));
        set(el, "data-none", !number);
      });
      cluster.paint();
      progress.paint();
      controls.paint();
    },
  };
}

/** @param {import("./types.js").State} state */
function headerTally(state) {
  const word = ` ${state.toLowerCase()}`;
  return h("li.count", { "data-state": state }, glyph(state), h("span.count-number"), h("span.count-word", {}, word));
}

/** @param {import("./types.js").Session} session @param {import("./types.js").State} state */
function headerCount(session, state) {
  return session.counts[state] ?? 0;
}

/**
 * How many steps are done, of how many.
 * @param {import("./types.js").Session} session
 */
export function headerDone(session) {
  const total = STATES.reduce((sum, state) => sum + headerCount(session, state), 0);
  const succeeded = headerCount(session, "SUCCEEDED");
  const failed = headerCount(session, "FAILED") + headerCount(session, "CANCELLED");
  return { total, succeeded, failed, running: headerCount(session, "RUNNING"), done: succeeded + failed };
}

/** @param {import("./types.js").Context} context */
function headerProgress(context) {
  const succeeded = h("span", { "data-state": "SUCCEEDED" });
  const failed = h("span", { "data-state": "FAILED" });
  const running = h("span.bar-running", { "data-state": "RUNNING" });
  const bar = h("span.bar", {}, succeeded, failed, running);
  const words = h("span.progress-words.muted");
  const meter = h("div.progress", { role: "progressbar", "aria-label": "steps done", "aria-valuemin": 0 }, words, bar);
  return {
    el: meter,
    paint() {
      const parts = headerDone(context.store.session);
      const share = (/** @type {number} */ number) => `${parts.total ? (100 * number) / parts.total : 0}%`;
      succeeded.style.width = share(parts.succeeded);
      failed.style.width = share(parts.failed);
      running.style.width = share(parts.running);
      const text = headerProgressWords(context.store.session);
      say(words, text);
      set(meter, "aria-valuemax", Math.max(1, parts.total));
      set(meter, "aria-valuenow", parts.done);
      set(meter, "aria-valuetext", text);
    },
  };
}

/** @param {import("./types.js").Session} session */
export function headerProgressWords(session) {
  const { total, done } = headerDone(session);
  if (!total) return "no steps yet";
  if (done === total) return `all ${counted(total, "step")} done`;
  const left = session.remaining ? ` · about ${roughly(session.remaining)} left` : "";
  return `${done} of ${total} done${left}`;
}

/** @param {import("./types.js").Context} context */
function headerControls(context) {
  const { store, act } = context;
  const pause = h("button.button.pause", { type: "button", onclick: () => act(headerIsHeld(store.session) ? "resume" : "pause") });
  const rerun = h("button.button", { type: "button", onclick: () => act("rerun failed") }, "Rerun failed");
  const cancel = headerCancelAll(context);
  const refusal = h("span.refusal", { role: "alert" });
  const workers = spin({
    name: "workers",
    fewer: "one worker fewer",
    more: "one worker more",
    least: 1,
    onSet: (number) => act("workers", { number: number ?? 1 }),
    onRefused: (words) => say(refusal, words),
  });
  const busy = h("span.muted.busy");
  const memory = h("span.memory", {}, h("span.muted", {}, "memory "), h("span"));
  const state = h("span.badge");
  return {
    el: h(
      "div.head-controls",
      {},
      h("div.buttons", {}, pause, rerun, cancel.el),
      state,
      h("label.workers", {}, h("span.muted", {}, "workers"), workers.el),
      busy,
      memory,
      refusal,
    ),
    paint() {
      const { session } = store;
      const live = isLive(store);
      say(pause, headerIsHeld(session) ? "Resume" : "Pause");
      set(pause, "data-on", headerIsHeld(session));
      set(pause, "disabled", !live);
      set(rerun, "disabled", !live || !(headerCount(session, "FAILED") + headerCount(session, "CANCELLED")));
      cancel.paint(live);
      say(state, headerStateWords(session));
      show(state, state.textContent !== "");
      workers.paint(session.workers, live);
      say(busy, `${session.busy} busy`);
      show(memory, session.memory !== null);
      if (session.memory) say(/** @type {HTMLElement} */ (memory.lastChild), headerMemory(session.memory));
    },
  };
}

/** On which cluster steps run, in a few words. @param {import("./types.js").Cluster} cluster */
export function headerClusterWords({ kind, threads }) {
  if (threads === null) return `${kind} · gone`;
  return `${kind} · ${threads ? counted(threads, "thread") : "no threads yet"}`;
}

/**
 * An address that a link may have: whatever a cluster says of itself, it leads to a page and nowhere else.
 * @param {string} address @param {string} base  address of the page
 */
export function headerLink(address, base) {
  if (!address) return null;
  try {
    const { protocol, href } = new URL(address, base);
    return protocol === "http:" || protocol === "https:" ? href : null;
  } catch {
    return null;
  }
}

/** Where steps run, if that is not this machine: a link to the cluster's dashboard. @param {import("./types.js").Context} context */
function headerCluster({ store }) {
  const el = h("span.cluster-place");
  const make = (/** @type {{href: string|null}} */ { href }) =>
    href === null
      ? h("span.cluster", {}, h("span"))
      : h("a.cluster", { target: "_blank", rel: "noopener noreferrer" }, h("span"), h("span", { "aria-hidden": "true" }, " ↗"));
  return {
    el,
    paint() {
      const cluster = store.isDead ? null : store.session.cluster;
      const isGone = cluster?.threads === null;
      const href = cluster && !isGone ? headerLink(cluster.dashboard, document.baseURI) : null;
      keep(el, cluster ? [{ cluster, href }] : [], (each) => `${each.href === null}`, make, (chip, each) => {
        const { address } = each.cluster;
        const where = isGone
          ? `the cluster at ${address} is gone: '%stepup executor local' goes on here`
          : `steps run on the cluster at ${address}`;
        say(/** @type {Element} */ (chip.firstElementChild), headerClusterWords(each.cluster));
        set(chip, "href", each.href);
        set(chip, "title", each.href === null ? where : `${where}\nopen its dashboard`);
        set(chip, "data-gone", isGone);
      });
    },
  };
}

/** Whether nothing new starts, until somebody says so. @param {import("./types.js").Session} session */
function headerIsHeld(session) {
  return session.paused || session.draining;
}

/** @param {import("./types.js").Session} session */
function headerStateWords(session) {
  if (session.draining) return "draining: nothing new starts";
  return session.paused ? "paused: nothing new starts" : "";
}

/** @param {{used: number, limit: number|null}} memory */
function headerMemory({ used, limit }) {
  return limit === null ? size(used) : `${size(used)} of ${size(limit)}`;
}

/**
 * The one button that asks first; it does so in its own place, as a dialog of the browser would stop the page.
 * @param {import("./types.js").Context} context
 */
function headerCancelAll({ store, act }) {
  const open = h("button.button", { type: "button", onclick: () => ask(true) }, "Cancel all");
  const question = h("span");
  const yes = h("button.button.primary", { type: "button", onclick: confirm }, "Yes, cancel");
  const no = h("button.button", { type: "button", onclick: () => ask(false) }, "No");
  const asking = h("span.asking", { role: "group", "aria-label": "Confirm", hidden: true, onkeydown: onKey }, question, yes, no);

  function unfinished() {
    const { total, done } = headerDone(store.session);
    return total - done;
  }
  /** @param {boolean} isAsking */
  function ask(isAsking) {
    say(question, `Cancel ${counted(unfinished(), "step")}?`);
    show(open, !isAsking);
    show(asking, isAsking);
    (isAsking ? no : open).focus();
  }
  function confirm() {
    act("cancel all");
    ask(false);
  }
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    ask(false);
  }
  return {
    el: h("span.cancel-all", {}, open, asking),
    /** @param {boolean} live */
    paint(live) {
      const isPossible = live && unfinished() > 0;
      set(open, "disabled", !isPossible);
      if (!isPossible) {
        show(open, true);
        show(asking, false);
      }
    },
  };
}

/**
 * @typedef {object} Part  a piece of the compact line
 * @property {string} key
 * @property {import("./types.js").State} [state]   whose colour and glyph it has
 * @property {string} [name]   of a pool
 * @property {string} text
 */

/**
 * The compact line, in pieces.
 * @param {import("./types.js").Session} session
 * @returns {Part[]}
 */
export function headerCompactParts(session) {
  /** @type {Part[]} */
  const parts = session.pools.map((pool) => ({ key: `pool ${pool.name}`, name: pool.name, text: headerPoolWords(pool) }));
  if (!parts.length) parts.push({ key: "running", state: "RUNNING", text: `${headerCount(session, "RUNNING")} running` });
  parts.push({ key: "done", state: "SUCCEEDED", text: `${headerCount(session, "SUCCEEDED")} done` });
  for (const state of /** @type {const} */ (["FAILED", "CANCELLED"])) {
    const number = headerCount(session, state);
    if (number) parts.push({ key: state, state, text: `${number} ${state.toLowerCase()}` });
  }
  if (session.paused) parts.push({ key: "paused", text: "paused" });
  if (session.cluster?.threads === null) parts.push({ key: "cluster", text: headerClusterWords(session.cluster) });
  if (session.remaining) parts.push({ key: "left", text: `about ${roughly(session.remaining)} left` });
  return parts;
}

/** @param {import("./types.js").Pool} pool */
function headerPoolWords(pool) {
  const waiting = pool.waiting ? ` (+${pool.waiting})` : "";
  const limit = pool.size === null ? " used" : `/${slotsOf(pool)}`;
  if (pool.size === 0 && !pool.used) return ` closed${waiting}`;
  return ` ${pool.used}${limit}${waiting}${pool.paused ? " paused" : ""}`;
}

/** @param {import("./types.js").Context} context @param {() => void} grow */
function headerCompact(context, grow) {
  const line = h("ul.compact-line");
  const toggle = h("button.button.plain", { type: "button", onclick: grow, title: "Show the whole panel" }, "Full");
  return {
    el: h("div.compact", {}, line, toggle),
    paint() {
      keep(line, headerCompactParts(context.store.session), (part) => part.key, headerPart, (el, part) => {
        say(/** @type {HTMLElement} */ (el.lastChild), part.text);
      });
    },
  };
}

/** @param {Part} part */
function headerPart(part) {
  return h(
    "li.compact-part",
    {},
    part.state ? glyph(part.state) : false,
    part.name !== undefined && h("b.label", {}, part.name),
    h("span"),
  );
}
