// The table of all steps: filter, sort, cancel, rerun. Draws only the rows that are in sight.

import { STATES, GLYPH, counted, size } from "./words.js";
import { h, keep, say, set, show } from "./dom.js";
import { isLive } from "./controls.js";
import {
  aboutOf,
  focusWithin,
  markState,
  oncePerFrame,
  poolsOf,
  secondsOf,
  stateMark,
  timeOf,
  verbOf,
} from "./parts.js";

/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./types.js").State} State */
/** @typedef {"state"|"label"|"pool"|"machine"|"time"|"memory"|"reason"|"cell"} StepsColumn */
/** @typedef {{column: StepsColumn, isDown: boolean}|null} StepsSort  null: in the order of declaration */
/** @typedef {{words: string, states: Set<State>, hasDormant: boolean}} StepsFilter  no states: all of them */

/** Pixels; css/steps.css has the same. */
const STEPS_ROW = 26;
/** Rows shown before the table scrolls. */
const STEPS_SHOWN = 14;
/** Rows drawn beyond both edges, so that a fast scroll finds them there. */
const STEPS_MARGIN = 6;

/** @type {[StepsColumn, string][]} */
const STEPS_COLUMNS = [
  ["state", "State"],
  ["label", "Step"],
  ["pool", "Pool"],
  ["machine", "Machine"],
  ["time", "Time"],
  ["memory", "Memory"],
  ["reason", "Reason"],
  ["cell", "Cell"],
];

/** @type {WeakMap<Step, string>} a step that changes is another object */
const stepsTexts = new WeakMap();

/** What the filter looks at. @param {Step} step */
function stepsText(step) {
  let text = stepsTexts.get(step);
  if (text === undefined) {
    text = `${step.label} ${step.state} ${Object.keys(step.pool).join(" ")} ${step.machine} ${step.reason}`.toLowerCase();
    stepsTexts.set(step, text);
  }
  return text;
}

/**
 * The steps that a filter lets through: those with all its words.
 * @param {Iterable<Step>} steps @param {StepsFilter} filter
 */
export function stepsFiltered(steps, filter) {
  const words = filter.words.toLowerCase().split(/\s+/).filter(Boolean);
  const passed = [];
  for (const step of steps) {
    if (step.dormant ? !filter.hasDormant : filter.states.size && !filter.states.has(step.state)) continue;
    if (words.every((word) => stepsText(step).includes(word))) passed.push(step);
  }
  return passed;
}

/** @type {Map<string, string>} */
const stepsNaturals = new Map();
/** Texts remembered: several for each of the most steps that are expected. */
const STEPS_NATURALS = 50000;

/** A text to sort by, in which "job 9" comes before "job 10". @param {string} text */
export function stepsNatural(text) {
  let natural = stepsNaturals.get(text);
  if (natural === undefined) {
    natural = text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0"));
    if (stepsNaturals.size >= STEPS_NATURALS) stepsNaturals.clear();
    stepsNaturals.set(text, natural);
  }
  return natural;
}

/** @type {Record<StepsColumn, (step: Step, now: number) => string|number|null>} "" and null come last */
const STEPS_KEYS = {
  state: (step) => STATES.indexOf(step.state),
  label: (step) => stepsNatural(step.label),
  pool: (step) => stepsNatural(Object.keys(step.pool).join(" ")),
  machine: (step) => stepsNatural(step.machine),
  time: (step, now) => (step.state === "RUNNING" && step.started !== null ? now - step.started : secondsOf(step)),
  memory: (step) => step.peak,
  reason: (step) => stepsNatural(step.reason),
  cell: (step) => stepsNatural(step.cell),
};

/**
 * The steps in the order that is asked for; equal ones in that of declaration.
 * @param {Step[]} steps @param {StepsSort} sort @param {number} now
 */
export function stepsSorted(steps, sort, now) {
  const declared = [...steps].sort((one, other) => one.seq - other.seq);
  if (!sort) return declared;
  const keyOf = STEPS_KEYS[sort.column];
  const sign = sort.isDown ? -1 : 1;
  /** @type {[string|number, Step][]} */
  const full = [];
  const empty = [];
  for (const step of declared) {
    const key = keyOf(step, now);
    if (key === null || key === "") empty.push(step);
    else full.push([key, step]);
  }
  full.sort(([one], [other]) => (one < other ? -sign : one > other ? sign : 0));
  return [...full.map(([, step]) => step), ...empty];
}

/**
 * First row to draw and the one after the last.
 * @param {number} top @param {number} height @param {number} count
 */
export function stepsWindow(top, height, count) {
  const first = Math.max(0, Math.floor(top / STEPS_ROW) - STEPS_MARGIN);
  return [Math.min(first, count), Math.min(count, Math.ceil((top + height) / STEPS_ROW) + STEPS_MARGIN)];
}

/** The next sort when a column's header is pressed: up, down, none. @param {StepsSort} sort @param {StepsColumn} column @returns {StepsSort} */
export function stepsNextSort(sort, column) {
  if (sort?.column !== column) return { column, isDown: false };
  return sort.isDown ? null : { column, isDown: true };
}

/** @param {import("./types.js").Context} context @returns {import("./types.js").View} */
export function stepsView(context) {
  const { store } = context;
  /** @type {StepsFilter} */
  const filter = { words: "", states: new Set(), hasDormant: false };
  /** @type {StepsSort} */
  let sort = null;
  /** @type {Step[]} */
  let rows = [];
  /** @type {Map<string, number>} where each step is in `rows` */
  let places = new Map();
  let sorted = "";
  /** Steps that count without any filter: the table's height follows them, so that a filter moves nothing. */
  let total = 0;
  /** @type {string|null} name of the step that is about to be cancelled */
  let asking = null;

  const again = oncePerFrame(paint);
  const field = /** @type {HTMLInputElement} */ (
    h("input.field", {
      type: "search",
      placeholder: "Filter",
      "aria-label": "Filter steps",
      title: "words of a label, state, pool or reason ( / )",
      oninput: onFilter,
      onkeydown: onFieldKey,
    })
  );
  const chips = h("div.chips", { role: "group", "aria-label": "States to show" });
  const found = h("span.steps-found.muted", { role: "status" });
  const header = h("div.steps-row.steps-head", { role: "row", "aria-rowindex": "1" }, ...STEPS_COLUMNS.map(headerCell), actionsHeader());
  const spacer = h("div.steps-spacer", { role: "rowgroup" });
  const none = h("p.empty.steps-none");
  const body = h("div.steps-body.scroll", { onscroll: again.ask }, spacer, none);
  const table = h("div.steps-table", { role: "table", "aria-label": "steps" }, h("div", { role: "rowgroup" }, header), body);
  const el = h("div.steps", {}, h("div.tools", {}, field, chips, found), table);

  /** @param {[StepsColumn, string]} column */
  function headerCell([column, name]) {
    const arrow = h("span.steps-arrow", { "aria-hidden": "true" });
    const press = () => {
      sort = stepsNextSort(sort, column);
      paint();
    };
    const button = h("button.steps-sort", { type: "button", title: `Sort by ${name.toLowerCase()}`, onclick: press }, name, arrow);
    return h(`div.steps-item.steps-${column}`, { role: "columnheader", "data-column": column }, button);
  }

  function actionsHeader() {
    return h("div.steps-item.steps-actions", { role: "columnheader" }, h("span.unseen", {}, "Actions"));
  }

  function onFilter() {
    filter.words = field.value;
    body.scrollTop = 0;
    paint();
  }

  /** @param {State|"dormant"} chip */
  function toggle(chip) {
    if (chip === "dormant") filter.hasDormant = !filter.hasDormant;
    else if (!filter.states.delete(chip)) filter.states.add(chip);
    paint();
  }

  function paint() {
    collect();
    paintChips();
    paintHeader();
    paintRows();
  }

  function collect() {
    const key = [store.version, filter.words, [...filter.states].join(), filter.hasDormant, sort?.column, sort?.isDown].join("\n");
    if (key === sorted) return;
    sorted = key;
    rows = stepsSorted(stepsFiltered(store.steps.values(), filter), sort, context.now());
    places = new Map(rows.map((step, place) => [step.name, place]));
    if (asking !== null && !canCancel(asking)) asking = null;
  }

  function paintChips() {
    /** @type {Map<State|"dormant", number>} */
    const counts = new Map([...STATES, /** @type {const} */ ("dormant")].map((chip) => [chip, 0]));
    let hasMachines = false;
    for (const step of store.steps.values()) {
      const chip = step.dormant ? "dormant" : step.state;
      counts.set(chip, (counts.get(chip) ?? 0) + 1);
      hasMachines ||= step.machine !== "" && (!step.dormant || filter.hasDormant);
    }
    set(table, "data-machines", hasMachines);
    total = store.steps.size - (filter.hasDormant ? 0 : (counts.get("dormant") ?? 0));
    keep(chips, counts, ([chip]) => chip, ([chip]) => makeChip(chip), updateChip);
    const isFiltered = filter.words.trim() || filter.states.size;
    say(found, isFiltered ? `${rows.length} of ${counted(total, "step")}` : counted(total, "step"));
  }

  /** @param {State|"dormant"} chip */
  function makeChip(chip) {
    const glyph = chip === "dormant" ? "·" : GLYPH[chip];
    return h(
      "button.chip",
      { type: "button", "data-state": chip === "dormant" ? null : chip, onclick: () => toggle(chip) },
      h("span.chip-glyph", { "aria-hidden": "true" }, glyph),
      h("span.chip-word", {}, chip.toLowerCase()),
      h("span.chip-count"),
    );
  }

  /** @param {HTMLElement} el @param {[State|"dormant", number]} count */
  function updateChip(el, [chip, count]) {
    const isPressed = chip === "dormant" ? filter.hasDormant : filter.states.has(chip);
    set(el, "aria-pressed", isPressed ? "true" : "false");
    set(el, "data-empty", count === 0 && !isPressed);
    set(el, "aria-label", `${chip.toLowerCase()}: ${counted(count, "step")}`);
    set(el, "title", chip === "dormant" ? "known from before, not declared in this session" : chip.toLowerCase());
    say(/** @type {Element} */ (el.lastElementChild), String(count));
  }

  function paintHeader() {
    for (const cell of header.children) {
      const column = cell.getAttribute("data-column");
      if (column === null) continue;
      const isSorted = sort?.column === column;
      set(cell, "aria-sort", isSorted ? (sort?.isDown ? "descending" : "ascending") : "none");
      const arrow = cell.querySelector(".snb-steps-arrow");
      if (arrow) say(arrow, isSorted ? (sort?.isDown ? "▾" : "▴") : "");
    }
  }

  function paintRows() {
    const height = Math.min(Math.max(total, 3), STEPS_SHOWN) * STEPS_ROW;
    body.style.height = `${height}px`;
    spacer.style.height = `${rows.length * STEPS_ROW}px`;
    show(none, !rows.length);
    if (!rows.length) say(none, emptyWords());
    set(table, "aria-rowcount", rows.length + 1);
    const [first, end] = stepsWindow(body.scrollTop, body.clientHeight || height, rows.length);
    const shown = [];
    for (let place = first; place < end; place++) shown.push(place);
    // The row that the keyboard is in stays, else scrolling with the wheel would lose the focus.
    const held = focusWithin(spacer)?.closest("[role=row]")?.getAttribute("data-place");
    const place = held === null || held === undefined ? -1 : currentPlace();
    if (place >= 0 && (place < first || place >= end)) shown.push(place);
    const focused = focusWithin(spacer);
    keep(spacer, shown, (at) => rows[at].name, (at) => makeRow(rows[at].name), updateRow);
    if (focused && !focusWithin(spacer)) restoreFocus(focused);
  }

  /** A row that was moved, or whose button is gone, takes the focus back. @param {HTMLElement} focused */
  function restoreFocus(focused) {
    if (focused.isConnected && !focused.hidden) focused.focus({ preventScroll: true });
    if (!focusWithin(spacer)) rowAt(currentPlace())?.focus({ preventScroll: true });
  }

  function emptyWords() {
    if (!store.steps.size) return "No steps yet. A cell with %%runsh or runsh() declares one.";
    return total ? "No step is like that." : "No step is declared in this session yet.";
  }

  /** @param {string} name */
  function makeRow(name) {
    const cells = STEPS_COLUMNS.map(([column]) => h(`div.steps-item.steps-${column}`, { role: "cell" }));
    cells[0].append(stateMark());
    const bar = h("span.steps-progress", { "aria-hidden": "true" });
    cells[4].append(h("span"), h("span.steps-about"), bar);
    const button = h("button.button.plain", { type: "button", onclick: () => act(name) });
    const actions = h("div.steps-item.steps-actions", { role: "cell" }, button);
    return h(
      "div.steps-row",
      { role: "row", onclick: () => choose(name), ondblclick: () => context.select(name, { tab: "Log" }) },
      ...cells,
      actions,
    );
  }

  /** @param {HTMLElement} row @param {number} place */
  function updateRow(row, place) {
    const step = rows[place];
    row.style.transform = `translateY(${place * STEPS_ROW}px)`;
    set(row, "aria-rowindex", place + 2);
    set(row, "data-place", place);
    set(row, "data-dormant", step.dormant);
    set(row, "data-state", step.state);
    set(row, "aria-current", step.name === context.selected() ? "true" : null);
    set(row, "tabindex", place === currentPlace() ? 0 : -1);
    const [state, label, pool, machine, time, memory, reason, cell, actions] = row.children;
    const mark = /** @type {Element} */ (state.firstElementChild);
    markState(mark, step.state);
    say(label, step.label);
    const name = store.machineOf(step);
    set(label, "title", name ? `${step.label}\non ${name}` : step.label);
    say(pool, poolsOf(step));
    say(machine, name);
    set(machine, "title", step.machine || null);
    say(/** @type {Element} */ (time.firstElementChild), timeOf(step, context.now()));
    say(time.children[1], aboutOf(step));
    paintProgress(/** @type {HTMLElement} */ (time.lastElementChild), step);
    say(memory, step.peak === null ? "" : size(step.peak));
    say(reason, step.dormant ? step.reason || "not declared in this session" : step.reason);
    set(reason, "title", step.reason || null);
    say(cell, step.cell);
    set(cell, "title", step.cell || null);
    updateActions(/** @type {HTMLElement} */ (actions), step, place);
  }

  /** @param {HTMLElement} bar @param {Step} step */
  function paintProgress(bar, step) {
    const isShown = step.state === "RUNNING" && step.started !== null && Boolean(step.expected);
    show(bar, isShown);
    if (!isShown) return;
    const share = (context.now() - Number(step.started)) / Number(step.expected);
    bar.style.transform = `scaleX(${Math.min(1, Math.max(0, share)).toFixed(3)})`;
  }

  /** @param {HTMLElement} actions @param {Step} step @param {number} place */
  function updateActions(actions, step, place) {
    const button = /** @type {HTMLElement} */ (actions.firstElementChild);
    const verb = verbOf(step);
    show(button, verb !== null && asking !== step.name);
    say(button, verb === "rerun" ? "Rerun" : "Cancel");
    set(button, "aria-label", `${verb === "rerun" ? "Rerun" : "Cancel"} ${step.label}`);
    set(button, "data-verb", verb);
    set(button, "disabled", !isLive(store));
    set(button, "tabindex", place === currentPlace() ? 0 : -1);
    const question = actions.querySelector(".snb-steps-question");
    if (asking !== step.name) question?.remove();
    else if (!question) actions.append(makeQuestion(step));
  }

  /** @param {Step} step */
  function makeQuestion(step) {
    const close = () => {
      asking = null;
      paint();
      rowAt(currentPlace())?.focus({ preventScroll: true });
    };
    // Elsewhere Esc leaves the panel; here it only takes the question back.
    const onQuestionKey = (/** @type {Event} */ event) => {
      if (/** @type {KeyboardEvent} */ (event).key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      close();
    };
    const yes = () => {
      context.act("cancel", { step: step.name });
      close();
    };
    return h(
      "span.steps-question",
      { role: "group", "aria-label": `Cancel ${step.label}?`, onkeydown: onQuestionKey },
      "Cancel it?",
      h("button.button.steps-yes", { type: "button", "aria-label": `Yes, cancel ${step.label}`, onclick: yes }, "Yes"),
      h("button.button", { type: "button", "aria-label": `No, let ${step.label} go on`, onclick: close }, "No"),
    );
  }

  /** @param {string} name */
  function canCancel(name) {
    const step = store.steps.get(name);
    return step !== undefined && verbOf(step) === "cancel";
  }

  /** @param {string} name */
  function act(name) {
    const step = store.steps.get(name);
    const verb = step && verbOf(step);
    if (verb) context.act(verb, { step: name });
  }

  /** @param {string} name */
  function choose(name) {
    if (context.selected() !== name) context.select(name);
    paint();
  }

  /** Row that the keyboard is at. */
  function currentPlace() {
    const name = context.selected();
    return (name === null ? undefined : places.get(name)) ?? 0;
  }

  /** @param {number} place @returns {HTMLElement|null} */
  function rowAt(place) {
    return spacer.querySelector(`[data-place="${place}"]`);
  }

  /** @param {number} place */
  function goTo(place) {
    if (!rows.length) return;
    const to = Math.min(rows.length - 1, Math.max(0, place));
    const top = to * STEPS_ROW;
    if (top < body.scrollTop) body.scrollTop = top;
    else if (top + STEPS_ROW > body.scrollTop + body.clientHeight) body.scrollTop = top + STEPS_ROW - body.clientHeight;
    choose(rows[to].name);
    rowAt(to)?.focus({ preventScroll: true });
  }

  /** @type {Record<string, () => void>} */
  const moves = {
    ArrowDown: () => goTo(currentPlace() + (context.selected() === null ? 0 : 1)),
    ArrowUp: () => goTo(currentPlace() - 1),
    PageDown: () => goTo(currentPlace() + Math.floor(body.clientHeight / STEPS_ROW)),
    PageUp: () => goTo(currentPlace() - Math.floor(body.clientHeight / STEPS_ROW)),
    Home: () => goTo(0),
    End: () => goTo(rows.length - 1),
  };

  /** @type {Record<string, (step: Step) => void>} */
  const deeds = {
    Enter: (step) => context.select(step.name, { tab: "Log" }),
    x: (step) => ask(step),
    r: (step) => verbOf(step) === "rerun" && isLive(store) && context.act("rerun", { step: step.name }),
  };

  /** @param {Step} step */
  function ask(step) {
    if (verbOf(step) !== "cancel" || !isLive(store)) return;
    asking = step.name;
    goTo(currentPlace());
    /** @type {HTMLElement|null|undefined} */
    const yes = rowAt(currentPlace())?.querySelector(".snb-steps-question button");
    yes?.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key === "/") {
      field.focus();
      field.select();
      return true;
    }
    const isButton = event.target instanceof HTMLButtonElement;
    if (event.key in moves) {
      moves[event.key]();
      return true;
    }
    const step = rows[currentPlace()];
    if (!(event.key in deeds) || !step || (isButton && event.key === "Enter")) return false;
    deeds[event.key](step);
    return true;
  }

  /** Keys of the filter do not come through `onKey`: they are typed. @param {KeyboardEvent} event */
  function onFieldKey(event) {
    if (event.key === "ArrowDown" || event.key === "Enter") goTo(places.has(context.selected() ?? "") ? currentPlace() : 0);
    else if (event.key === "Escape" && field.value) {
      field.value = "";
      onFilter();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return { el, paint, dispose: again.stop, onKey };
}
