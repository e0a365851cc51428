// Controls that several views share: a number with buttons beside it, a state with glyph and word.

import { GLYPH } from "./words.js";
import { h, set, say } from "./dom.js";

/** Milliseconds for which a number that was asked for is shown, while the kernel has not taken it yet. */
const SPIN_PATIENCE = 3000;

/**
 * @typedef {object} Spin
 * @property {HTMLElement} el
 * @property {HTMLInputElement} field
 * @property {(value: number|null, isEnabled: boolean) => void} paint
 * @property {(by: number) => void} step
 */

/**
 * A number that can be typed, stepped by arrow keys, or by the buttons at its sides. Each change is asked for at once.
 * @param {object} options
 * @param {string} options.name   for assistive tools
 * @param {string} options.fewer  what the button on the left does
 * @param {string} options.more   what the button on the right does
 * @param {number} options.least
 * @param {boolean} [options.mayBeNone]   whether there may be no limit
 * @param {() => number} [options.fromNone]   where to start from when there was no limit
 * @param {(value: number|null) => void} options.onSet
 * @param {(words: string) => void} options.onRefused   told why an entry cannot be, and "" when all is well again
 * @returns {Spin}
 */
export function spin(options) {
  /** @type {{value: number|null}|null} asked for, not yet taken by the kernel */
  let wanted = null;
  /** @type {number|null} */
  let actual = 0;
  /** @type {number|null|undefined} */
  let shown;
  const field = /** @type {HTMLInputElement} */ (
    h("input.field", {
      type: "text",
      inputmode: "numeric",
      role: "spinbutton",
      "aria-label": options.name,
      "aria-valuemin": options.least,
      autocomplete: "off",
      spellcheck: "false",
      onchange: () => commit(),
      onkeydown: onKey,
      onfocus: () => field.select(),
    })
  );
  const fewer = spinButton("−", options.fewer, () => step(-1));
  const more = spinButton("+", options.more, () => step(1));

  const current = () => (wanted ? wanted.value : actual);

  /** @param {number|null} value */
  function ask(value) {
    options.onRefused("");
    const asked = { value };
    wanted = asked;
    display(value);
    options.onSet(value);
    setTimeout(() => {
      // The kernel did not take it: back to what is true.
      if (wanted === asked) settle();
    }, SPIN_PATIENCE);
  }

  function settle() {
    wanted = null;
    if (current() !== shown && !isTyping()) display(current());
  }

  /** @param {number} by */
  function step(by) {
    const value = current();
    if (value === null) {
      if (by < 0) ask(Math.max(options.least, options.fromNone?.() ?? 1));
      return;
    }
    const next = Math.max(options.least, value + by);
    if (next !== value) ask(next);
  }

  function commit() {
    const value = spinParse(field.value, options.least, options.mayBeNone ?? false);
    if (typeof value === "string") {
      options.onRefused(value);
      display(current());
    } else if (value !== current()) {
      ask(value);
    } else {
      options.onRefused("");
      display(value);
    }
  }

  /** @param {number|null} value */
  function display(value) {
    shown = value;
    field.value = value === null ? "none" : String(value);
    set(field, "aria-valuenow", value);
    set(field, "aria-valuetext", value === null ? "no limit" : value === 0 ? "0, closed" : null);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key === "Enter") commit();
    else if (event.key === "ArrowUp") step(1);
    else if (event.key === "ArrowDown") step(-1);
    else if (event.key === "Escape" && isEdited()) display(current());
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const isEdited = () => field.value !== (shown === null ? "none" : String(shown));
  // What someone is typing is theirs.
  const isTyping = () => document.activeElement === field && isEdited();

  return {
    el: h("span.spin", {}, fewer, field, more),
    field,
    step,
    paint(value, isEnabled) {
      actual = value;
      for (const each of [field, fewer, more]) set(each, "disabled", !isEnabled);
      if (!wanted || wanted.value === value) settle();
    },
  };
}

/** @param {string} sign @param {string} name @param {() => void} press */
function spinButton(sign, name, press) {
  // Not in the order of Tab: the field beside it takes the arrow keys.
  return h("button.button", { type: "button", tabindex: -1, "aria-label": name, title: name, onclick: press }, sign);
}

/**
 * The number that an entry means, or why it means none.
 * @param {string} text @param {number} least @param {boolean} mayBeNone
 * @returns {number|null|string}
 */
export function spinParse(text, least, mayBeNone) {
  const entry = text.trim().toLowerCase();
  if (mayBeNone && (entry === "" || entry === "none")) return null;
  const number = Number(entry);
  if (/^[0-9]{1,9}$/.test(entry) && number >= least) return number;
  const said = entry === "" ? "Nothing" : `“${text.trim().slice(0, 20)}”`;
  const allowed = mayBeNone ? "a whole number, 0 to close the pool, or none for no limit" : `a whole number from ${least}`;
  return `${said} cannot be taken. Enter ${allowed}.`;
}

/** A glyph in the colour of its state; the word stands beside it, or in `aria-label`. @param {import("./types.js").State} state */
export function glyph(state) {
  return h("span.state.glyph", { "data-state": state, "aria-hidden": "true" }, GLYPH[state]);
}

/** Bring a glyph up to date. @param {Element} el @param {import("./types.js").State} state */
export function setGlyph(el, state) {
  set(el, "data-state", state);
  say(/** @type {HTMLElement} */ (el), GLYPH[state]);
}

/** What assistive tools call a step. @param {import("./types.js").Step} step @param {...(string|null)} more */
export function nameOf(step, ...more) {
  return [step.label, step.state.toLowerCase(), ...more].filter(Boolean).join(", ");
}

/**
 * Whether the kernel can still be asked for something.
 * @param {import("./store.js").Store} store
 */
export function isLive(store) {
  return store.isReady && !store.isDead && !store.session.lost;
}
