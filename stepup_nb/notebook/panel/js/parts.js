// What the views of steps, log, timeline and graph share: a step's words, and one paint a frame.

import { GLYPH, duration, roughly } from "./words.js";
import { h, say, set } from "./dom.js";

/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Job} Job */

/** Seconds that still grow, in whole ones: tenths that flicker tell nobody anything. @param {number} seconds */
export function elapsed(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return whole < 60 ? `${whole} s` : duration(whole);
}

/** How long a step will take, as far as one knows. @param {Step} step */
export function aboutOf(step) {
  return step.state === "RUNNING" && step.expected !== null ? ` of about ${roughly(step.expected)}` : "";
}

/** How long a step runs, waits or took. @param {Step} step @param {number} now */
export function timeOf(step, now) {
  if (step.state === "RUNNING" && step.started !== null) return elapsed(now - step.started);
  if (step.state === "QUEUED" && step.queued !== null) return `waits ${elapsed(now - step.queued)}`;
  if (step.skipped) return "up to date";
  const seconds = secondsOf(step);
  return seconds === null || isWaiting(step) ? "" : duration(seconds);
}

/** Seconds that the last job took. @param {Step} step */
export function secondsOf(step) {
  if (step.duration !== null) return step.duration;
  return step.started !== null && step.ended !== null ? step.ended - step.started : null;
}

/** Pools of a step, with the slots it holds or asks for. @param {Step} step */
export function poolsOf(step) {
  const said = Object.entries(step.pool).map(([name, count]) => {
    const held = step.slots[name];
    if (step.state === "RUNNING" && held?.length) return `${name} · slot ${held.join(", ")}`;
    return count === 1 ? name : `${name} × ${count}`;
  });
  return said.join(", ");
}

/** @param {Step} step */
export function isWaiting(step) {
  return step.state === "PENDING" || step.state === "CHECKING" || step.state === "QUEUED";
}

/** Which button a step has. @param {Step} step @returns {"cancel"|"rerun"|null} */
export function verbOf(step) {
  if (step.dormant) return null;
  return step.state === "RUNNING" || isWaiting(step) ? "cancel" : "rerun";
}

/** The state that a job's bar has. @param {string|null} outcome @returns {State} */
export function stateOfOutcome(outcome) {
  if (outcome === null) return "RUNNING";
  if (outcome === "succeeded") return "SUCCEEDED";
  return outcome === "cancelled" ? "CANCELLED" : "FAILED";
}

/** A state's glyph and word. */
export function stateMark() {
  return h("span.state", {}, h("span.glyph", { "aria-hidden": "true" }), h("span.state-word"));
}

/** @param {Element} mark  from `stateMark` @param {State} state */
export function markState(mark, state) {
  set(mark, "data-state", state);
  say(/** @type {Element} */ (mark.firstElementChild), GLYPH[state]);
  say(/** @type {Element} */ (mark.lastElementChild), state);
}

/**
 * Call a function in the next frame, once however often it is asked for.
 * @param {() => void} call
 */
export function oncePerFrame(call) {
  let frame = 0;
  return {
    ask() {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        call();
      });
    },
    stop() {
      cancelAnimationFrame(frame);
      frame = 0;
    },
  };
}

/** The element that has the focus, if it is within this one. @param {Element} el @returns {HTMLElement|null} */
export function focusWithin(el) {
  const root = /** @type {Document|ShadowRoot} */ (el.getRootNode());
  const active = root.activeElement ?? null;
  return active instanceof HTMLElement && el.contains(active) ? active : null;
}
