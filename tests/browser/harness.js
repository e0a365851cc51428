// Puts the panel into the page, and a simulated kernel behind it. What a test needs is in `window.harness`.

import { createPanel } from "../../stepup_nb/notebook/panel/js/panel.js";
import { World } from "./world.js";
import { SCENES } from "./scenes.js";

const TICK = 0.1;

/** The model that anywidget would hand out: events, and a way to the kernel and back. */
class Model {
  constructor() {
    /** @type {Map<string, Set<(...values: unknown[]) => void>>} */
    this.calls = new Map();
    /** @type {Map<string, unknown>} */
    this.traits = new Map();
    this.isCut = false;
    /** @type {(message: import("../../stepup_nb/notebook/panel/js/types.js").ToKernel) => void} */
    this.toKernel = () => {};
  }
  /** @param {string} key */
  get(key) {
    return this.traits.get(key);
  }
  /** @param {string} name @param {(...values: any[]) => void} call */
  on(name, call) {
    this.calls.set(name, (this.calls.get(name) ?? new Set()).add(call));
  }
  /** @param {string} name @param {(...values: any[]) => void} call */
  off(name, call) {
    this.calls.get(name)?.delete(call);
  }
  /** @param {string} name @param {...unknown} values */
  trigger(name, ...values) {
    for (const call of [...(this.calls.get(name) ?? [])]) call(...values);
  }
  /** @param {import("../../stepup_nb/notebook/panel/js/types.js").ToKernel} message */
  send(message) {
    if (this.isCut) throw new Error("Cannot send");
    const text = JSON.stringify(message);
    setTimeout(() => this.toKernel(JSON.parse(text)), 1);
  }
}

const query = new URLSearchParams(location.search);
const model = new Model();
// As text and back: what a message refers to must not be shared with the world.
const world = new World((/** @type {import("./world.js").FromKernel} */ message) => {
  const text = JSON.stringify(message);
  if (!harness.isLossy) model.trigger("msg:custom", JSON.parse(text));
});
const host = /** @type {HTMLElement} */ (document.getElementById("host"));
const panel = createPanel();

const harness = {
  model,
  world,
  panel,
  /** Whether messages to the panel get lost. */
  isLossy: false,
  /** @type {(() => void)[]} */
  undo: [],
  /** Let time pass and tell. @param {number} seconds */
  pass(seconds) {
    world.pass(seconds).flush();
  },
  /** One more view of the same model. @param {HTMLElement} el */
  render(el) {
    harness.undo.push(panel.render({ model, el }));
  },
  /** What a restart of the kernel looks like from here. */
  restart() {
    model.isCut = true;
    model.trigger("comm_live_update");
  },
};
Object.assign(window, { harness });

model.traits.set("mode", query.get("mode") ?? "full");
model.toKernel = (/** @type {import("../../stepup_nb/notebook/panel/js/types.js").ToKernel} */ message) => world.hear(message);
if (query.has("silent")) world.isBusy = true;
SCENES[query.get("scene") ?? "lesson"](world);
panel.initialize({ model });
harness.render(host);
if (query.has("live")) setInterval(() => harness.pass(TICK), 1000 * TICK);
