// What the panel knows: one for each model, shared by all its views. Applies what the kernel tells, sees when something
// was lost, and asks for everything anew then.

import { machinesNamed } from "./machines.js";

/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Details} Details */
/** @typedef {import("./types.js").Line} Line */

/** Lines of output kept for each job. */
export const LINES = 1000;
/** Jobs kept for the timeline. */
export const JOBS = 5000;
/** Jobs whose output is kept, and steps about which all is kept. */
export const OUTPUTS = 8;
export const DETAILS = 50;
/** Milliseconds without an answer after which the kernel counts as busy. */
export const PATIENCE = 1500;

/**
 * The output of one job as far as it is here.
 * @typedef {object} Output
 * @property {string} step
 * @property {number} job
 * @property {number} first    number of the first line that is here
 * @property {Line[]} lines
 * @property {number} hidden   lines before `first`
 * @property {string|null} path
 * @property {boolean} final
 * @property {number} version  grows with each change
 */

/**
 * Keep the last few entries of a map, by when they were set.
 * @template K, V
 * @param {Map<K, V>} map @param {K} key @param {V} value @param {number} most
 */
function storeLatest(map, key, value, most) {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) return;
    map.delete(oldest);
  }
}

/** @returns {Session} */
function nothing() {
  return {
    notebook: "",
    workers: 0,
    busy: 0,
    paused: false,
    draining: false,
    pools: [],
    queue: [],
    counts: {},
    notes: [],
    remaining: null,
    memory: null,
    lost: false,
    cluster: null,
  };
}

export class Store {
  /**
   * @param {(message: import("./types.js").ToKernel) => void} send
   * @param {{now: () => number, later: (call: () => void, ms: number) => unknown}} clock  milliseconds
   */
  constructor(send, clock = { now: () => Date.now(), later: (call, ms) => setTimeout(call, ms) }) {
    /** @type {Session} */
    this.session = nothing();
    /** @type {Map<string, Step>} */
    this.steps = new Map();
    /** @type {Map<number, Job>} by number, oldest first */
    this.jobs = new Map();
    /** @type {Map<string, Details>} */
    this.details = new Map();
    /** @type {Map<number, Output>} by job */
    this.outputs = new Map();
    /** Short names of the workers that were heard of, by address. @type {Map<string, string>} */
    this.machines = new Map();
    /** @type {import("./types.js").Node[]|null} */
    this.graph = null;
    /** Grows whenever steps came, went or changed state; views that sort or lay out compare it. */
    this.version = 0;
    /** Whether a snapshot has come. */
    this.isReady = false;
    /** Whether the kernel has not answered for a while. */
    this.isBusy = false;
    /** Whether the kernel that this panel belongs to is gone. */
    this.isDead = false;
    /** Words of the last action that was refused, or "". */
    this.refusal = "";
    this._send = send;
    this._clock = clock;
    this._seq = 0;
    this._offset = 0;
    this._hasOffset = false;
    this._isAsking = false;
    // Every page hears all answers: numbers must not be those of another one.
    this._number = Math.floor(Math.random() * 2 ** 40);
    /** @type {Map<number, number>} actions without an answer, and when they were sent */
    this._asked = new Map();
    /** @type {Set<() => void>} */
    this._listeners = new Set();
  }

  /** Call a function after each change; returns how to end that. @param {() => void} call */
  listen(call) {
    this._listeners.add(call);
    return () => {
      this._listeners.delete(call);
    };
  }

  /** The kernel's clock, in seconds since the epoch. */
  now() {
    return this._clock.now() / 1000 + this._offset;
  }

  /** Ask for everything. */
  hello() {
    if (this._isAsking || this.isDead) return;
    this._isAsking = true;
    this._send({ kind: "hello" });
    this._watch(() => this._isAsking);
    // A message may get lost on its way, in either direction.
    this._clock.later(() => {
      if (!this._isAsking) return;
      this._isAsking = false;
      this.hello();
    }, 2 * PATIENCE);
  }

  /**
   * Have the kernel do something.
   * @param {import("./types.js").Verb} verb
   * @param {{step?: string, pool?: string, size?: number|null, number?: number}} fields
   */
  act(verb, fields = {}) {
    const id = ++this._number;
    this._asked.set(id, this._clock.now());
    this._do({ kind: "act", id, verb, ...fields }, PATIENCE);
    this._watch(() => this._asked.has(id));
  }

  /**
   * Send an action, and send it again, ever less often, until there is an answer. JupyterLab sends what is clicked before
   * it has the panel's subshell to the kernel's main thread, where it waits for the end of the cell. The kernel does what
   * it hears twice once.
   * @param {Extract<import("./types.js").ToKernel, {kind: "act"}>} message
   * @param {number} ms  until it is sent again
   */
  _do(message, ms) {
    this._send(message);
    this._clock.later(() => {
      if (this._asked.has(message.id) && !this.isDead) this._do(message, 2 * ms);
    }, ms);
  }

  /** The kernel is gone, or there again. @param {boolean} isDead */
  setDead(isDead) {
    this.isDead = isDead;
    this._tell();
  }

  /** Take in a message. @param {import("./types.js").FromKernel} message */
  take(message) {
    if (message.kind === "graph") {
      this.graph = message.nodes;
      this._tell();
      return;
    }
    this._setClock(message.at);
    if (message.kind === "snapshot") {
      this._isAsking = false;
      this.isReady = true;
      this.steps = new Map();
      this.jobs = new Map();
      this.outputs = new Map();
      // What was asked long ago has been answered in a message that got lost.
      for (const [id, when] of this._asked) if (when < this._clock.now() - PATIENCE) this._asked.delete(id);
    } else if (!this.isReady || message.seq !== this._seq + 1) {
      // Something is missing: what follows cannot be understood until everything has come anew.
      this.hello();
      for (const answer of message.answers ?? []) this._answered(answer);
      return;
    }
    this._seq = message.seq;
    if (message.session) this.session = message.session;
    this._takeSteps(message);
    for (const job of message.jobs ?? []) this.jobs.set(job.job, job);
    this._meet([...(message.steps ?? []), ...(message.jobs ?? []), ...(message.details ?? []).flatMap(({ jobs }) => jobs)]);
    while (this.jobs.size > JOBS) this.jobs.delete(/** @type {number} */ (this.jobs.keys().next().value));
    for (const log of message.logs ?? []) this._takeLog(log);
    for (const each of message.details ?? []) storeLatest(this.details, each.step, each, DETAILS);
    for (const answer of message.answers ?? []) this._answered(answer);
    if (!this._asked.size) this.isBusy = false;
    this._tell();
  }

  /** @param {import("./types.js").Snapshot|import("./types.js").Delta} message */
  _takeSteps(message) {
    const gone = message.kind === "delta" ? (message.gone ?? []) : [];
    for (const name of gone) this.steps.delete(name);
    for (const step of message.steps ?? []) this.steps.set(step.name, step);
    if (gone.length || message.steps?.length || message.jobs?.length) this.version++;
  }

  /** @param {{machine: string}[]} each  steps and jobs */
  _meet(each) {
    const met = new Set(each.map(({ machine }) => machine).filter((machine) => machine && !this.machines.has(machine)));
    if (met.size) this.machines = machinesNamed([...this.machines.keys(), ...met]);
  }

  /** The short name of the worker that a step or a job ran on; "" for this machine. @param {{machine: string}|null|undefined} each */
  machineOf(each) {
    return this.machines.get(each?.machine ?? "") ?? "";
  }

  /** @param {import("./types.js").Log} log */
  _takeLog(log) {
    let output = this.outputs.get(log.job);
    if (!output || log.from < output.first || log.from > output.first + output.lines.length) {
      output = { step: log.step, job: log.job, first: log.from, lines: [], hidden: 0, path: null, final: false, version: 0 };
    }
    storeLatest(this.outputs, log.job, output, OUTPUTS);
    output.lines.length = log.from - output.first;
    output.lines.push(...log.lines);
    const surplus = Math.max(log.first - output.first, output.lines.length - LINES);
    if (surplus > 0) {
      output.lines.splice(0, surplus);
      output.first += surplus;
    }
    output.hidden = log.hidden < 0 ? log.hidden : Math.max(log.hidden, output.first);
    output.path = log.path;
    output.final = log.final;
    output.version++;
  }

  /** @param {import("./types.js").Answer} answer */
  _answered(answer) {
    if (!this._asked.delete(answer.id)) return;
    this.refusal = answer.words;
    if (!this._asked.size) this.isBusy = false;
    this._tell();
  }

  /** @param {number} at */
  _setClock(at) {
    // A message can only have come too late: the largest offset is the best one.
    const offset = at - this._clock.now() / 1000;
    if (!this._hasOffset || offset > this._offset) this._offset = offset;
    this._hasOffset = true;
  }

  /** Say that the kernel is busy when a question has no answer for a while. @param {() => boolean} isOpen */
  _watch(isOpen) {
    this._clock.later(() => {
      if (isOpen() && !this.isBusy) {
        this.isBusy = true;
        this._tell();
      }
    }, PATIENCE);
  }

  _tell() {
    for (const call of [...this._listeners]) call();
  }
}
