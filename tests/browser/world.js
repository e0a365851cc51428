// A small world that talks to the panel as a kernel does: pools, workers, a queue, steps that start, print and end.
// Its clock is driven from outside, and its dice are loaded, so that a picture can be made twice.

/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Step} Step */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Pool} Pool */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Job} Job */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Line} Line */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Session} Session */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").FromKernel} FromKernel */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").ToKernel} ToKernel */

import { machinesHost } from "../../stepup_nb/notebook/panel/js/machines.js";

const START = 1_790_000_000;
const IN_QUEUE = 8;

/** @typedef {{takes: number, fails: boolean, prints: (second: number) => string, inp: string[], out: string[]}} Fate  what a step will do */

export class World {
  /** @param {(message: FromKernel) => void} tell */
  constructor(tell) {
    this.now = START;
    this.workers = 4;
    this.isPaused = false;
    this.notebook = "01_pools.ipynb";
    /** @type {string[]} */
    this.notes = [];
    this.isLost = false;
    /** Addresses of the cluster's workers, if steps run on one. @type {string[]} */
    this.machines = [];
    /** @type {Session["cluster"]} */
    this.cluster = null;
    /** Whether it hears, but does not answer. */
    this.isBusy = false;
    /** @type {Map<string, {size: number|null, tokens: string[], isPaused: boolean, reserved: string|null, isPerMachine: boolean}>} */
    this.pools = new Map();
    /** @type {Map<string, Step>} */
    this.steps = new Map();
    /** @type {Map<Step["state"], Set<Step>>} in the order in which they came into it */
    this._inState = new Map();
    /** @type {Map<string, Fate>} */
    this.fates = new Map();
    /** @type {Map<number, Job>} */
    this.jobs = new Map();
    /** @type {Map<number, Line[]>} */
    this.lines = new Map();
    this._tell = tell;
    this._seq = 0;
    this._job = 0;
    this._dice = 7;
    /** @type {{steps: Set<string>, jobs: Set<number>, logs: Map<number, number>, answers: import("../../stepup_nb/notebook/panel/js/types.js").Answer[]}} */
    this._news = { steps: new Set(), jobs: new Set(), logs: new Map(), answers: [] };
    /** @type {Map<string, string|null>} step by view */
    this._followed = new Map();
    /** @type {ToKernel[]} */
    this.heard = [];
  }

  /** A number from 0 to 1, the same in each run. */
  dice() {
    this._dice = (this._dice * 1_103_515_245 + 12_345) % 2_147_483_648;
    return this._dice / 2_147_483_648;
  }

  /**
   * @param {string} name @param {number|null} size
   * @param {{tokens?: string[], isPaused?: boolean, reserved?: string|null, isPerMachine?: boolean}} [more]
   */
  pool(name, size, { tokens = [], isPaused = false, reserved = null, isPerMachine = false } = {}) {
    this.pools.set(name, { size, tokens, isPaused, reserved, isPerMachine });
    return this;
  }

  /** Let steps run on a cluster of these workers. @param {...string} addresses */
  on(...addresses) {
    this.machines = addresses;
    this.cluster = { kind: "dask", address: "tls://10.0.0.1:8786", dashboard: "http://10.0.0.1:8787/status", threads: 4 * addresses.length };
    return this;
  }

  /**
   * Declare a step. It runs as soon as its pools and the workers let it.
   * @param {string} name
   * @param {{pool?: Record<string, number>, takes?: number, expected?: number|null, fails?: boolean, label?: string,
   *   prints?: (second: number) => string, inp?: string[], out?: string[], state?: import("../../stepup_nb/notebook/panel/js/types.js").State}} [options]
   */
  step(name, { pool = {}, takes = 5, expected = takes, fails = false, label = name, prints, inp = [], out = [], state = "QUEUED" } = {}) {
    this.fates.set(name, { takes, fails, prints: prints ?? ((second) => `row ${100 * second}`), inp, out });
    /** @type {Step} */
    const made = {
      name,
      label,
      state,
      reason: "",
      pool,
      slots: {},
      worker: null,
      seq: this.steps.size,
      job: null,
      outcome: state === "SUCCEEDED" ? "succeeded" : null,
      returncode: state === "SUCCEEDED" ? 0 : null,
      queued: this.now,
      started: null,
      ended: null,
      duration: state === "SUCCEEDED" ? takes : null,
      expected,
      peak: null,
      dormant: false,
      skipped: false,
      optional: false,
      cell: "cell 3",
      last: "",
      machine: "",
      place: null,
    };
    this.steps.set(name, made);
    this._enter(made, state);
    this._changed(name);
    return this;
  }

  /** Let time pass, in steps of a tenth of a second, without telling. @param {number} seconds */
  pass(seconds) {
    for (let tenths = Math.round(10 * seconds); tenths > 0; tenths--) {
      this.now += 0.1;
      for (const step of this._in("RUNNING")) this._work(step);
      this._start();
    }
    return this;
  }

  /** Tell what is new. */
  flush() {
    const { steps, jobs, logs, answers } = this._news;
    if (this.isBusy) return;
    this._news = { steps: new Set(), jobs: new Set(), logs: new Map(), answers: [] };
    this._tell({
      kind: "delta",
      seq: ++this._seq,
      at: this.now,
      session: this.session(),
      steps: [...steps].flatMap((name) => this.steps.get(name) ?? []).map((step) => ({ ...step })),
      gone: [...steps].filter((name) => !this.steps.has(name)),
      jobs: [...jobs].map((number) => ({ .../** @type {Job} */ (this.jobs.get(number)) })),
      logs: [...logs].flatMap(([job, from]) => this._log(job, from)),
      answers,
    });
  }

  /** Take a message from the panel. @param {ToKernel} message */
  hear(message) {
    this.heard.push(message);
    if (this.isBusy) return;
    if (message.kind === "hello") this._tell(this._snapshot());
    else if (message.kind === "graph") this._tell({ kind: "graph", nodes: this._nodes() });
    else if (message.kind === "follow") this._follow(message.view, message.step);
    else this._news.answers.push({ id: message.id, words: this._act(message) });
  }

  /** @returns {Session} */
  session() {
    this._explain();
    /** @type {Session["counts"]} */
    const counts = {};
    let left = 0;
    for (const step of this.steps.values()) {
      counts[step.state] = (counts[step.state] ?? 0) + 1;
      if (step.state === "QUEUED") left += step.expected ?? 1;
      else if (step.state === "RUNNING") left += Math.max(0, (step.expected ?? 1) - (this.now - (step.started ?? this.now)));
    }
    const busy = counts.RUNNING ?? 0;
    return {
      notebook: this.notebook,
      workers: this.workers,
      busy,
      paused: this.isPaused,
      draining: false,
      pools: [...this.pools.keys()].map((name) => this._poolView(name)),
      queue: this._in("QUEUED").filter((step) => !Object.keys(step.pool).length).slice(0, IN_QUEUE).map((step) => step.name),
      counts,
      notes: this.notes,
      remaining: left ? left / this.workers : null,
      memory: { used: 310e6 + busy * 42e6, limit: 2e9 },
      lost: this.isLost,
      cluster: this.cluster,
    };
  }

  /** @param {string} name @returns {Pool} */
  _poolView(name) {
    const { size, tokens, isPaused, reserved, isPerMachine } = this._poolOf(name);
    const queue = this._in("QUEUED").filter((step) => name in step.pool);
    const names = queue.slice(0, IN_QUEUE).map((step) => step.name);
    /** @type {[string, number][]} */
    const machines = isPerMachine ? this._hosts().map((host) => [host, this._used(name, host).size]) : [];
    const used = isPerMachine ? machines.reduce((sum, [, number]) => sum + number, 0) : this._used(name).size;
    return { name, size, used, waiting: queue.length, tokens, paused: isPaused, reserved, queue: names, per_machine: isPerMachine, machines };
  }

  _snapshot() {
    return {
      kind: /** @type {const} */ ("snapshot"),
      seq: this._seq,
      at: this.now,
      session: this.session(),
      steps: [...this.steps.values()].map((step) => ({ ...step })),
      jobs: [...this.jobs.values()],
      logs: [...this._followed.values()].flatMap((name) => this._log((name && this.steps.get(name)?.job) || 0, 0)),
      details: [],
    };
  }

  /** @param {Step["state"]} state */
  _in(state) {
    return [...(this._inState.get(state) ?? [])];
  }

  /** @param {Step} step @param {Step["state"]} state */
  _enter(step, state) {
    this._inState.get(step.state)?.delete(step);
    this._inState.set(state, (this._inState.get(state) ?? new Set()).add(step));
    step.state = state;
  }

  /** @param {string} name */
  _poolOf(name) {
    return /** @type {NonNullable<ReturnType<World["pools"]["get"]>>} */ (this.pools.get(name));
  }

  /** @param {string} name */
  _changed(name) {
    this._news.steps.add(name);
  }

  /** Slots in use, on one machine or at all. @param {string} pool @param {string} [host] */
  _used(pool, host) {
    const running = this._in("RUNNING").filter((step) => host === undefined || step.place === host);
    return new Set(running.flatMap((step) => step.slots[pool] ?? []));
  }

  _hosts() {
    return this.machines.length ? [...new Set(this.machines.map(machinesHost))] : [""];
  }

  /** The worker that has least to do, of those where a step has room; undefined if none has. @param {Step} step */
  _machineFor(step) {
    const counted = Object.entries(step.pool).filter(([name]) => this._poolOf(name).isPerMachine);
    const fits = (/** @type {string} */ host) =>
      counted.every(([name, number]) => this._used(name, host).size + number <= (this._poolOf(name).size ?? Infinity));
    const load = (/** @type {string} */ address) => this._in("RUNNING").filter((each) => each.machine === address).length;
    const all = this.machines.length ? this.machines : [""];
    return all.filter((address) => fits(machinesHost(address))).sort((one, other) => load(one) - load(other))[0];
  }

  _start() {
    if (this.isPaused || this.isLost) return;
    for (const step of this._in("QUEUED")) {
      if (this._in("RUNNING").length >= this.workers) return;
      const asked = Object.entries(step.pool);
      if (asked.every(([name, number]) => this._fits(step, name, number))) this._begin(step);
    }
  }

  /** @param {Step} step @param {string} name @param {number} number */
  _fits(step, name, number) {
    const { size, isPaused, reserved, isPerMachine } = this._poolOf(name);
    if (isPaused || (reserved !== null && reserved !== step.label)) return false;
    if (isPerMachine) return this._machineFor(step) !== undefined;
    return size === null || this._used(name).size + number <= size;
  }

  /** @param {Step} step */
  _begin(step) {
    /** @type {Record<string, number[]>} */
    const slots = {};
    const machine = this._machineFor(step) ?? "";
    const host = machinesHost(machine);
    let place = null;
    for (const [name, number] of Object.entries(step.pool)) {
      const { isPerMachine } = this._poolOf(name);
      const used = this._used(name, isPerMachine ? host : undefined);
      if (isPerMachine) place = host;
      slots[name] = [];
      for (let slot = 0; slots[name].length < number; slot++) if (!used.has(slot)) slots[name].push(slot);
    }
    const taken = new Set(this._in("RUNNING").map((each) => each.worker));
    let worker = 0;
    while (taken.has(worker)) worker++;
    const job = ++this._job;
    const started = this.now;
    this._set(step, { state: "RUNNING", reason: "", slots, worker, machine, place, job, started, ended: null, peak: 40e6, last: "", outcome: null });
    this.jobs.set(job, {
      job,
      step: step.name,
      outcome: null,
      returncode: null,
      queued: step.queued ?? started,
      started,
      ended: null,
      slots,
      worker,
      peak_rss: null,
      cpu: null,
      why: "never ran",
      machine,
    });
    this.lines.set(job, []);
    this._news.jobs.add(job);
  }

  /** @param {Step} step @param {Partial<Step>} fields */
  _set(step, fields) {
    if (fields.state && fields.state !== step.state) this._enter(step, fields.state);
    Object.assign(step, fields);
    this._changed(step.name);
  }

  /** One tenth of a second of work. @param {Step} step */
  _work(step) {
    const fate = /** @type {Fate} */ (this.fates.get(step.name));
    const elapsed = this.now - (step.started ?? this.now);
    const lines = this.lines.get(step.job ?? 0) ?? [];
    if (Math.floor(2 * elapsed) > lines.length) {
      const text = fate.prints(lines.length / 2);
      this._news.logs.set(step.job ?? 0, Math.min(lines.length, this._news.logs.get(step.job ?? 0) ?? Infinity));
      lines.push([lines.length % 7 === 6 ? 1 : 0, [[text]]]);
      this._set(step, { last: text, peak: 40e6 + 1e6 * lines.length });
    }
    if (elapsed >= fate.takes) this._end(step, fate.fails ? "failed" : "succeeded");
  }

  /** @param {Step} step @param {string} outcome */
  _end(step, outcome) {
    const state = { failed: "FAILED", cancelled: "CANCELLED" }[outcome] ?? "SUCCEEDED";
    const returncode = { failed: 1, cancelled: -15 }[outcome] ?? 0;
    const duration = this.now - (step.started ?? this.now);
    const last = outcome === "failed" ? "plot.py: No such file: data.csv" : step.last;
    const reason = outcome === "failed" ? "exit code 1" : "";
    this._set(step, { state: /** @type {Step["state"]} */ (state), outcome, returncode, duration, ended: this.now, last, reason });
    const job = this.jobs.get(step.job ?? 0);
    if (!job) return;
    Object.assign(job, { outcome, returncode, ended: this.now, peak_rss: step.peak, cpu: duration });
    this._news.jobs.add(job.job);
  }

  /** Say why each step waits. */
  _explain() {
    for (const step of this._in("QUEUED")) {
      const full = Object.entries(step.pool).find(([name, number]) => !this._fits(step, name, number));
      const reason = full ? `waits for a slot of pool '${full[0]}'` : `waits for one of ${this.workers} workers`;
      if (step.reason !== reason) this._set(step, { reason });
    }
  }

  /** @param {string} view @param {string|null} name */
  _follow(view, name) {
    this._followed.set(view, name);
    const step = name === null ? undefined : this.steps.get(name);
    if (!step) return;
    const fate = /** @type {Fate} */ (this.fates.get(step.name));
    this._tell({
      kind: "delta",
      seq: ++this._seq,
      at: this.now,
      logs: this._log(step.job ?? 0, 0),
      details: [
        {
          step: step.name,
          command: `python ${step.name}.py`,
          workdir: ".",
          inp: fate.inp,
          out: fate.out,
          vol: [],
          env: [],
          cell: step.cell,
          why: [step.reason || "It never ran."],
          notes: [],
          jobs: [...this.jobs.values()].filter((job) => job.step === step.name).reverse(),
        },
      ],
    });
  }

  /** @param {number} job @param {number} from */
  _log(job, from) {
    const row = this.jobs.get(job);
    const lines = this.lines.get(job);
    if (!row || !lines || ![...this._followed.values()].includes(row.step)) return [];
    return [{ step: row.step, job, from, first: 0, lines: lines.slice(from), hidden: 0, path: `.stepup/logs/${job}.txt`, final: row.ended !== null }];
  }

  /** @returns {import("../../stepup_nb/notebook/panel/js/types.js").Node[]} */
  _nodes() {
    return [...this.steps.keys()].map((name) => {
      const { inp, out } = /** @type {Fate} */ (this.fates.get(name));
      return [name, inp, out, []];
    });
  }

  /**
   * Do it; returns why not, or "".
   * @param {Extract<ToKernel, {kind: "act"}>} message
   */
  _act({ verb, step: name, pool, size, number }) {
    const step = name === undefined ? undefined : this.steps.get(name);
    if (verb === "resize" && pool !== undefined) {
      if (size !== null && size !== undefined && size > 9999) return "A pool cannot have more than 9999 slots.";
      this._poolOf(pool).size = size ?? null;
    } else if (verb === "workers") this.workers = number ?? this.workers;
    else if (verb === "pause" || verb === "resume") {
      if (pool === undefined) this.isPaused = verb === "pause";
      else this._poolOf(pool).isPaused = verb === "pause";
    } else if (verb === "cancel" && step) this._cancel(step);
    else if (verb === "cancel all") for (const each of [...this._in("RUNNING"), ...this._in("QUEUED")]) this._cancel(each);
    else if (verb === "rerun failed") for (const each of [...this._in("FAILED"), ...this._in("CANCELLED")]) this._again(each);
    else if ((verb === "rerun" || verb === "run") && step) this._again(step);
    else return `There is no step '${name ?? ""}'.`;
    this._start();
    return "";
  }

  /** @param {Step} step */
  _cancel(step) {
    if (step.state === "RUNNING") this._end(step, "cancelled");
    else this._set(step, { state: "CANCELLED", reason: "cancelled by you", ended: this.now });
  }

  /** @param {Step} step */
  _again(step) {
    const fate = this.fates.get(step.name);
    if (fate) fate.fails = false;
    this._set(step, { state: "QUEUED", queued: this.now, reason: "", slots: {}, worker: null });
  }
}
