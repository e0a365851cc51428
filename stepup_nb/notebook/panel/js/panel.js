// The panel as a whole: joins the views, and decides when they paint. Knows the widget model; the views do not.

import { Store } from "./store.js";
import { h, keep, say, set, show } from "./dom.js";
import { isLive } from "./controls.js";
import { headerView } from "./header.js";
import { lanesView } from "./lanes.js";
import { stepsView } from "./steps.js";
import { timelineView } from "./timeline.js";
import { graphView } from "./graph.js";
import { logView } from "./log.js";

/**
 * What is used of the model that anywidget hands out. Only some front ends let one see `comm_live`.
 * @typedef {object} PanelModel
 * @property {(key: string) => unknown} get
 * @property {(name: string, call: (...values: any[]) => void) => void} on
 * @property {(name: string, call: (...values: any[]) => void) => void} off
 * @property {(message: import("./types.js").ToKernel) => void} send
 * @property {boolean} [comm_live]
 */

const PANEL_TABS = ["Pools", "Steps", "Timeline", "Graph", "Log"];
/** From this width on, the log stands beside the pools. */
const PANEL_WIDE = 1000;
/** Milliseconds after which a connection that was lost is tried once more. */
const PANEL_RETRY = 1000;
/** Milliseconds without news after which a page that was hidden asks whether it missed some. */
const PANEL_STALE = 5000;

const PANEL_KEYS = [
  ["1 … 5", "go to a view"],
  ["↑ ↓", "go through the steps"],
  ["Enter", "show the log of the step"],
  ["x", "cancel the step (asks)"],
  ["r", "rerun the step"],
  ["p", "pause or resume the pool"],
  ["+ −", "resize the pool"],
  ["/", "filter the steps"],
  ["f", "follow the log"],
  ["?", "show or hide these keys"],
  ["Esc", "go back to the notebook"],
];

/**
 * Follow the messages of the kernel for as long as the model lives.
 * @param {PanelModel} model
 */
function panelConnect(model) {
  const store = new Store(send);
  let heard = Date.now();

  /** @param {import("./types.js").ToKernel} message */
  function send(message) {
    try {
      model.send(message);
    } catch {
      // The channel to the kernel is disposed of when that restarts.
      store.setDead(true);
    }
  }

  model.on("msg:custom", (message) => {
    heard = Date.now();
    if (store.isDead) store.setDead(false);
    store.take(message);
  });
  model.on("comm_live_update", () => {
    if (model.comm_live) {
      store.setDead(false);
      store.hello();
      return;
    }
    store.setDead(true);
    // Where `comm_live` cannot be seen, this may be the news that the kernel is back: then it answers.
    if (model.comm_live === undefined) setTimeout(() => send({ kind: "hello" }), PANEL_RETRY);
  });
  store.hello();
  return {
    store,
    send,
    /** Ask for everything if some of it may have been missed. */
    refresh() {
      if (Date.now() - heard > PANEL_STALE) store.hello();
    },
  };
}

/**
 * @param {PanelModel} model
 * @param {ReturnType<typeof panelConnect>} connection
 * @param {HTMLElement} el
 * @returns {() => void}   undoes it
 */
function panelView(model, { store, send, refresh }, el) {
  const view = Math.random().toString(36).slice(2, 10);
  let tab = PANEL_TABS[0];
  let isCompact = model.get("mode") === "compact";
  let isWide = false;
  /** @type {string|null} */
  let selected = null;

  /** @type {import("./types.js").Context} */
  const context = {
    store,
    view,
    send,
    selected: () => selected,
    select(name, { tab: target } = {}) {
      selected = name;
      if (target) goTo(target, true);
      painter.request();
    },
    act: (verb, fields) => store.act(verb, fields),
    now: () => store.now(),
  };

  const makers = [lanesView, stepsView, timelineView, graphView, logView];
  /** @type {Map<string, import("./types.js").View>} made when they are first shown */
  const views = new Map();
  const tabs = panelTabs(view, (name) => goTo(name, false));
  const header = headerView(context, { setCompact });
  const banners = h("div.banners");
  const waiting = h("div.empty");
  const help = panelHelp();
  const helpButton = h("button.button.plain", { type: "button", "aria-label": "Keys", title: "Keys", onclick: toggleHelp }, "?");
  const navigation = h("div.tabs", {}, tabs.list, helpButton);
  const body = h("div.body", {}, ...tabs.panels.values());
  const announcer = panelAnnouncer(store);
  const root = h(
    "section.panel",
    { role: "region", "aria-label": "StepUp", tabindex: -1, "data-lm-suppress-shortcuts": "true", onkeydown: onKey },
    header.el,
    banners,
    waiting,
    navigation,
    help,
    body,
    announcer.el,
  );
  const painter = panelPainter(root, store, paint);

  /** @param {string} name @param {boolean} mayFocus */
  function goTo(name, mayFocus) {
    if (!PANEL_TABS.includes(name)) return;
    tab = name;
    tabs.choose(name);
    if (mayFocus) tabs.focus(name);
    painter.request();
  }

  /** @param {boolean} isOn */
  function setCompact(isOn) {
    const hadFocus = root.contains(document.activeElement);
    isCompact = isOn;
    painter.now();
    // The button that was pressed is hidden now; the other one stands for it.
    if (hadFocus) [...header.el.querySelectorAll("button")].find((each) => each.offsetParent && each.title)?.focus();
  }

  function toggleHelp() {
    show(help, Boolean(help.hidden));
    set(helpButton, "aria-expanded", String(!help.hidden));
  }

  /** @param {string} name */
  function viewOf(name) {
    let made = views.get(name);
    if (!made) {
      made = makers[PANEL_TABS.indexOf(name)](context);
      views.set(name, made);
      tabs.panels.get(name)?.append(made.el);
    }
    return made;
  }

  function paint() {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    draw();
    // What had the focus may have gone or been disabled: the keys are still for the panel.
    if (focused && (document.activeElement !== focused ? !root.contains(document.activeElement) : focused.matches(":disabled"))) {
      root.focus({ preventScroll: true });
    }
  }

  function draw() {
    const isShown = store.isReady && !isCompact;
    const isBeside = isShown && isWide && tab === "Pools" && selected !== null;
    set(root, "data-beside", isBeside);
    set(root, "data-live", isLive(store));
    show(header.el, store.isReady);
    show(waiting, !store.isReady && !store.isDead);
    say(waiting, panelWaitingWords(store));
    show(navigation, isShown);
    show(body, isShown);
    if (!isShown && !help.hidden) toggleHelp();
    panelBanners(banners, store);
    tabs.show(tab, isBeside ? "Log" : null);
    header.paint(isCompact);
    const names = !isShown ? [] : isBeside ? [tab, "Log"] : [tab];
    for (const [name, each] of views) if (!names.includes(name)) each.hide?.();
    for (const name of names) viewOf(name).paint();
    if (!isShown) return;
    announcer.paint();
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!panelTakes(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {KeyboardEvent} event */
  function panelTakes(event) {
    if (event.key === "Escape") return leave();
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.matches("input, textarea, select, [contenteditable]") || isCompact || !store.isReady) return false;
    const beside = root.hasAttribute("data-beside") && tabs.panels.get("Log")?.contains(target);
    if (viewOf(beside ? "Log" : tab).onKey?.(event)) return true;
    if (event.key === "?") toggleHelp();
    else if (event.key >= "1" && event.key <= "5" && event.key.length === 1) goTo(PANEL_TABS[Number(event.key) - 1], true);
    else if (event.key === "Enter" && selected !== null && !target.matches("button, a")) goTo("Log", true);
    else if (event.key === "/") {
      goTo("Steps", true);
      // Only what is shown can take the focus.
      painter.now();
      return viewOf("Steps").onKey?.(event) ?? true;
    } else return false;
    return true;
  }

  function leave() {
    if (!help.hidden) {
      toggleHelp();
      return true;
    }
    const outside = /** @type {HTMLElement|null} */ (root.parentElement?.closest("[tabindex]"));
    /** @type {HTMLElement|null} */ (document.activeElement)?.blur();
    outside?.focus({ preventScroll: true });
    return true;
  }

  const sizes = new ResizeObserver(([entry]) => {
    isWide = entry.contentRect.width >= PANEL_WIDE;
    painter.request();
  });
  sizes.observe(root);
  const seen = () => {
    if (!document.hidden) refresh();
  };
  document.addEventListener("visibilitychange", seen);
  tabs.choose(tab);
  el.append(root);
  painter.now();

  return () => {
    for (const each of views.values()) each.dispose();
    document.removeEventListener("visibilitychange", seen);
    sizes.disconnect();
    painter.dispose();
    root.remove();
  };
}

/**
 * Paints at most once a frame when something changed, once a second while something runs, and not at all unseen.
 * @param {HTMLElement} root @param {import("./store.js").Store} store @param {() => void} paint
 */
function panelPainter(root, store, paint) {
  let frame = 0;
  let isSeen = true;
  let isDue = false;

  function now() {
    cancelAnimationFrame(frame);
    frame = 0;
    isDue = false;
    paint();
  }
  function request() {
    isDue = true;
    if (!frame && isSeen && !document.hidden) frame = requestAnimationFrame(now);
  }
  const isMoving = () => Boolean(store.session.counts.RUNNING) && isLive(store);
  const clock = setInterval(() => isMoving() && request(), 1000);
  const eyes = new IntersectionObserver((entries) => {
    isSeen = entries[entries.length - 1].isIntersecting;
    if (isSeen && isDue) request();
  });
  eyes.observe(root);
  const onVisible = () => request();
  document.addEventListener("visibilitychange", onVisible);
  const unlisten = store.listen(request);
  return {
    now,
    request,
    dispose() {
      unlisten();
      document.removeEventListener("visibilitychange", onVisible);
      eyes.disconnect();
      clearInterval(clock);
      cancelAnimationFrame(frame);
    },
  };
}

/**
 * @param {string} view @param {(name: string) => void} goTo
 */
function panelTabs(view, goTo) {
  /** @type {Map<string, HTMLElement>} */
  const buttons = new Map();
  /** @type {Map<string, HTMLElement>} */
  const panels = new Map();
  for (const name of PANEL_TABS) {
    const [id, panelId] = [`snb-${view}-tab-${name}`, `snb-${view}-${name}`];
    const onclick = () => goTo(name);
    buttons.set(name, h("button.tab", { type: "button", role: "tab", id, "aria-controls": panelId, onclick }, name));
    panels.set(name, h("div.tabpanel", { id: panelId, "data-tab": name, hidden: true }));
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const at = PANEL_TABS.findIndex((name) => buttons.get(name) === event.target);
    const last = PANEL_TABS.length - 1;
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at ? at - 1 : last, Home: 0, End: last }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    goTo(PANEL_TABS[next]);
    focus(PANEL_TABS[next]);
  }
  /** @param {string} name */
  function focus(name) {
    buttons.get(name)?.focus();
  }
  return {
    list: h("div.tablist", { role: "tablist", "aria-label": "views", onkeydown }, ...buttons.values()),
    panels,
    focus,
    /** @param {string} chosen */
    choose(chosen) {
      for (const [name, button] of buttons) {
        set(button, "aria-selected", String(name === chosen));
        set(button, "tabindex", name === chosen ? 0 : -1);
      }
    },
    /** @param {string} chosen @param {string|null} beside */
    show(chosen, beside) {
      for (const [name, panel] of panels) {
        show(panel, name === chosen || name === beside);
        set(panel, "role", name === beside ? "group" : "tabpanel");
        set(panel, "aria-label", name === beside ? name : null);
        set(panel, "aria-labelledby", name === beside ? null : `snb-${view}-tab-${name}`);
      }
    },
  };
}

function panelHelp() {
  const row = (/** @type {string[]} */ [key, words]) => h("div", {}, h("dt", {}, key), h("dd", {}, words));
  return h("dl.help", { hidden: true, "aria-label": "Keys" }, ...PANEL_KEYS.map(row));
}

/** @param {import("./store.js").Store} store */
function panelWaitingWords(store) {
  if (store.isBusy) return "The kernel does not answer: it is busy, or it was restarted. After a restart run this cell again.";
  return "Waiting for the kernel …";
}

/** @typedef {{key: string, tone: "bad"|"warn"|"note", words: string, close?: () => void}} Banner */

/**
 * What has to be said above all views, the worst first.
 * @param {import("./store.js").Store} store
 * @returns {Banner[]}
 */
export function panelBannerList(store) {
  /** @type {Banner[]} */
  const list = [];
  if (store.isDead) {
    const words = "The kernel was restarted: run this cell again.";
    return [{ key: "dead", tone: "bad", words }];
  }
  if (store.isReady && store.session.lost) {
    const words = "The director is gone, and all running steps with it. The next use of StepUp in a cell starts it again.";
    list.push({ key: "lost", tone: "bad", words });
  } else if (store.isBusy && store.isReady) {
    const words = "The kernel is busy: press Interrupt, or use `stepup-nb cancel` in a terminal.";
    list.push({ key: "busy", tone: "warn", words });
  }
  if (store.refusal) {
    const close = () => {
      store.refusal = "";
    };
    list.push({ key: "refusal", tone: "bad", words: store.refusal, close });
  }
  for (const note of store.session.notes) list.push({ key: `note ${note}`, tone: "note", words: note });
  return list;
}

const PANEL_TONES = { bad: "✗", warn: "!", note: "i" };

/** @param {HTMLElement} parent @param {import("./store.js").Store} store */
function panelBanners(parent, store) {
  /** @param {Banner} banner */
  function make(banner) {
    const role = banner.tone === "note" ? "status" : "alert";
    const el = h("div.banner", { role, "data-tone": banner.tone }, h("span", { "aria-hidden": "true" }, PANEL_TONES[banner.tone]), h("span"));
    const press = () => {
      banner.close?.();
      panelBanners(parent, store);
    };
    if (banner.close) el.append(h("button.button.plain", { type: "button", "aria-label": "Dismiss", onclick: press }, "×"));
    return el;
  }
  keep(parent, panelBannerList(store), (banner) => banner.key, make, (el, banner) => {
    say(/** @type {HTMLElement} */ (el.children[1]), banner.words);
  });
}

/**
 * Tells assistive tools of steps that fail, and of nothing else.
 * @param {import("./store.js").Store} store
 */
function panelAnnouncer(store) {
  const el = h("div.unseen", { "aria-live": "polite" });
  let version = -1;
  /** @type {Set<string>|null} */
  let before = null;
  return {
    el,
    paint() {
      if (version === store.version) return;
      version = store.version;
      const failed = new Map();
      for (const step of store.steps.values()) if (step.state === "FAILED" && !step.dormant) failed.set(step.name, step.label);
      const known = before;
      const news = known ? [...failed].filter(([name]) => !known.has(name)).map(([, label]) => label) : [];
      if (news.length) say(el, `failed: ${news.slice(0, 3).join(", ")}${news.length > 3 ? " and more" : ""}`);
      before = new Set(failed.keys());
    },
  };
}

/** What anywidget loads. The state of the model is in the closure, the state of a view in `render`. */
export function createPanel() {
  /** @type {ReturnType<typeof panelConnect>|null} */
  let connection = null;
  return {
    /** @param {{model: PanelModel}} props */
    initialize({ model }) {
      connection = panelConnect(model);
    },
    /** @param {{model: PanelModel, el: HTMLElement}} props */
    render({ model, el }) {
      connection ??= panelConnect(model);
      return panelView(model, connection, el);
    },
  };
}
