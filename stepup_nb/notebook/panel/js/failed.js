// The steps that failed last, each with its ending, and a button to run it again.

import { counted } from "./words.js";
import { h, keep, say, set, show } from "./dom.js";
import { glyph, isLive, nameOf } from "./controls.js";
import { seatsEnding } from "./seats.js";

/** Below the lanes: what failed last. @param {import("./types.js").Context} context */
export function failedList(context) {
  const list = h("ul.failed-list");
  const more = h("div.muted.failed-more");
  const el = h("section.failed", { "aria-label": "failed steps" }, h("div.failed-head.muted", {}, "failed"), h("div", {}, list, more));
  return {
    el,
    /** @param {import("./seats.js").Plan} plan */
    paint({ failed, moreFailed }) {
      show(el, failed.length > 0);
      keep(list, failed, (step) => step.name, failedRow, (each, step) => failedPaint(context, each, step));
      show(more, moreFailed > 0);
      say(more, `+${moreFailed} more, see Steps`);
    },
  };
}

function failedRow() {
  return h(
    "li.failure",
    {},
    h(
      "button.failure-main",
      { type: "button", "data-pick": true, tabindex: -1 },
      glyph("FAILED"),
      h("span.failure-label.line.label"),
      h("span.failure-ending.line"),
      h("span.failure-ago.muted"),
      h("span.failure-last.code.line.label"),
    ),
    h("button.button", { type: "button", "data-verb": "rerun", tabindex: -1 }, "Rerun"),
  );
}

/** @param {number} seconds */
function failedAgo(seconds) {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : counted(Math.floor(seconds / 86400), "day") + " ago";
}

/** @param {import("./types.js").Context} context @param {HTMLElement} el @param {import("./types.js").Step} step */
function failedPaint(context, el, step) {
  const [main, rerun] = /** @type {HTMLElement[]} */ ([...el.children]);
  const [, label, ending, ago, last] = /** @type {HTMLElement[]} */ ([...main.children]);
  const since = step.ended === null ? null : Math.max(0, context.now() - step.ended);
  set(el, "data-step", step.name);
  say(label, step.label);
  say(ending, seatsEnding(step));
  say(ago, since === null ? "" : failedAgo(since));
  say(last, step.last);
  set(main, "aria-label", nameOf(step, seatsEnding(step), step.last));
  const machine = context.store.machineOf(step);
  set(main, "title", [step.label, seatsEnding(step), machine && `on ${machine}`, step.last].filter(Boolean).join("\n"));
  set(main, "aria-current", context.selected() === step.name && "true");
  set(rerun, "aria-label", `Rerun ${step.label}`);
  set(rerun, "disabled", !isLive(context.store));
}
