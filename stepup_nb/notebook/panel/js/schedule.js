// Who ran when, as rows of bars: what the timeline draws. Knows no elements and no pixels but one ratio.

import { MACHINES_HERE, machinesHost } from "./machines.js";
import { duration } from "./words.js";
import { stateOfOutcome } from "./parts.js";

/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Pool} Pool */
/** @typedef {import("./types.js").State} State */

/**
 * A stretch of time of one job, or of several where there is no room for each.
 * @typedef {object} Bar
 * @property {string} key        unique within a row
 * @property {string} step       name
 * @property {Job|null} job      null: the step waits now
 * @property {number} from
 * @property {number|null} to    null: goes on
 * @property {State} state
 * @property {boolean} isWait
 * @property {number} count
 */

/**
 * A line of the timeline: a slot, a worker, or all that waited; or the name of the machine that those after it are on.
 * @typedef {object} Row
 * @property {string} key
 * @property {string} group
 * @property {string} name
 * @property {boolean} isWait
 * @property {boolean} isHead
 * @property {string} machine  "" where they are not told apart
 * @property {Bar[][]} lanes   bars of a lane follow each other and do not overlap
 */

/** Seconds without any job that part two runs. */
const SCHEDULE_PAUSE = 600;
/** Seconds of waiting that are not worth a bar. */
const SCHEDULE_INSTANT = 0.05;
/** Lanes of those that wait; what does not fit is counted together in the last. */
const SCHEDULE_LANES = 6;
/** Empty rows shown of a pool or of the workers, at most. */
const SCHEDULE_EMPTY = 32;
/** Bars narrower than this many pixels are joined with their neighbours. */
const SCHEDULE_NARROW = 3;

const NO_POOL = "no pool";
/** Of jobs that the cluster has not begun. */
const NO_MACHINE = "no machine yet";
const ALL_MACHINES = "all machines";

/** When a job was over; null while it runs. @param {Job} job */
function scheduleEnd(job) {
  // A job that was lost with its director has no end on record.
  return job.ended ?? (job.outcome === null ? null : job.started);
}

/**
 * When the current run began: after the last long pause.
 * @param {Job[]} jobs @param {Step[]} waiting @returns {number|null}
 */
export function scheduleStart(jobs, waiting) {
  /** @type {[number, number][]} */
  const spans = jobs.map((job) => [Math.min(job.queued, job.started), scheduleEnd(job) ?? Infinity]);
  for (const step of waiting) spans.push([Number(step.queued), Infinity]);
  if (!spans.length) return null;
  spans.sort(([one], [other]) => one - other);
  let start = spans[0][0];
  let reach = start;
  for (const [from, to] of spans) {
    if (from - reach > SCHEDULE_PAUSE) start = from;
    reach = Math.max(reach, to);
  }
  return start;
}

/** @param {Job} job @returns {Bar} */
function scheduleRan(job) {
  const state = stateOfOutcome(job.outcome);
  return { key: `${job.job}`, step: job.step, job, from: job.started, to: scheduleEnd(job), state, isWait: false, count: 1 };
}

/** @param {Job} job @returns {Bar} */
function scheduleWaited(job) {
  return { key: `w${job.job}`, step: job.step, job, from: job.queued, to: job.started, state: "QUEUED", isWait: true, count: 1 };
}

/** @param {Step} step @returns {Bar} */
function scheduleWaits(step) {
  return { key: `w ${step.name}`, step: step.name, job: null, from: Number(step.queued), to: null, state: "QUEUED", isWait: true, count: 1 };
}

/**
 * Put bars beneath each other so that none overlap.
 * @param {Bar[]} bars @param {number} [most]  lanes
 * @returns {Bar[][]}
 */
export function schedulePacked(bars, most = SCHEDULE_LANES) {
  const sorted = [...bars].sort((one, other) => one.from - other.from || (one.to ?? Infinity) - (other.to ?? Infinity));
  /** @type {Bar[][]} */
  const lanes = [];
  for (const bar of sorted) {
    const lane = lanes.find((each) => (each[each.length - 1].to ?? Infinity) <= bar.from);
    if (lane) lane.push(bar);
    else if (lanes.length < most) lanes.push([bar]);
    else scheduleJoin(lanes[most - 1], bar);
  }
  return lanes;
}

/** Count a bar together with the last one of a lane. @param {Bar[]} lane @param {Bar} bar */
function scheduleJoin(lane, bar) {
  const last = lane[lane.length - 1];
  const to = last.to === null || bar.to === null ? null : Math.max(last.to, bar.to);
  lane[lane.length - 1] = { ...last, to, count: last.count + 1, state: scheduleWorse(last.state, bar.state) };
}

/** Of two states the one that a joined bar shows. @param {State} one @param {State} other @returns {State} */
function scheduleWorse(one, other) {
  /** @type {State[]} */
  const order = ["FAILED", "CANCELLED", "RUNNING"];
  return order.find((state) => state === one || state === other) ?? one;
}

/**
 * @typedef {object} Wanted
 * @property {Job[]} jobs
 * @property {Step[]} waiting   steps that wait now
 * @property {Pool[]} pools
 * @property {number} workers
 * @property {"pool"|"worker"} by
 * @property {boolean} hasWaits
 * @property {boolean} isFar    whether steps run on a cluster
 * @property {number} since
 */

/** The rows of the timeline. @param {Wanted} wanted @returns {Row[]} */
export function scheduleRows(wanted) {
  const jobs = wanted.jobs.filter((job) => (scheduleEnd(job) ?? Infinity) >= wanted.since);
  const byMachine = scheduleMachines(jobs, wanted.isFar);
  const rows = byMachine.size > 1 ? scheduleByMachine({ ...wanted, jobs }, byMachine) : scheduleOfAll({ ...wanted, jobs });
  for (const row of rows) for (const lane of row.lanes) lane.sort((one, other) => one.from - other.from);
  return rows;
}

/** @param {Wanted} wanted */
function scheduleOfAll(wanted) {
  return wanted.by === "pool" ? scheduleByPool(wanted) : scheduleByWorker(wanted);
}

/**
 * The jobs of each machine by its host, this machine's first. What has not begun on any makes no difference alone.
 * @param {Job[]} jobs @param {boolean} isFar
 */
export function scheduleMachines(jobs, isFar) {
  /** @type {Map<string, Job[]>} */
  const found = new Map();
  const unplaced = [];
  for (const job of jobs) {
    if (isFar && job.outcome === null && !job.machine) {
      unplaced.push(job);
      continue;
    }
    const host = machinesHost(job.machine);
    const there = found.get(host);
    if (there) there.push(job);
    else found.set(host, [job]);
  }
  const numbered = new Intl.Collator("en", { numeric: true });
  const sorted = [...found].sort(([one], [other]) => numbered.compare(one, other));
  /** @type {Map<string, Job[]>} */
  const named = new Map(sorted.map(([host, there]) => [host || MACHINES_HERE, there]));
  if (unplaced.length && named.size > 1) named.set(NO_MACHINE, unplaced);
  return named;
}

/**
 * For each machine the slots that its jobs held, or the workers; then who waited for whichever.
 * @param {Wanted} wanted @param {Map<string, Job[]>} byMachine @returns {Row[]}
 */
function scheduleByMachine(wanted, byMachine) {
  /** @type {Row[]} */
  const rows = [];
  const add = (/** @type {string} */ machine, /** @type {Row[]} */ of) => {
    if (!of.length) return;
    rows.push({ key: `machine\n${machine}`, group: "", name: machine, isWait: false, isHead: true, machine, lanes: [] });
    for (const row of of) rows.push({ ...row, key: `${machine}\n${row.key}`, machine });
  };
  for (const [machine, jobs] of byMachine) {
    // Slots that nobody used are a machine's only where they are counted on it.
    const isOf = (/** @type {Pool} */ pool) => pool.per_machine && pool.machines.some(([name]) => (name || MACHINES_HERE) === machine);
    const pools = wanted.pools.map((pool) => (isOf(pool) ? pool : { ...pool, size: 0 }));
    add(machine, scheduleOfAll({ ...wanted, jobs, pools, waiting: [], workers: 0, hasWaits: false }));
  }
  if (wanted.hasWaits) add(ALL_MACHINES, scheduleOfAll(wanted).filter((row) => row.isWait));
  return rows;
}

/** @param {Wanted} wanted @returns {Row[]} */
function scheduleByWorker({ jobs, waiting, workers, hasWaits }) {
  /** @type {Map<number, Bar[]>} */
  const bars = new Map(Array.from({ length: Math.min(workers, SCHEDULE_EMPTY) }, (_, worker) => [worker, []]));
  for (const job of jobs) scheduleAdd(bars, job.worker, scheduleRan(job));
  const rows = [...bars].sort(([one], [other]) => one - other).map(([worker, lane]) => scheduleRow("worker", `${worker}`, [lane]));
  return hasWaits ? [...rows, ...scheduleWaitRow("worker", scheduleAllWaits(jobs, waiting))] : rows;
}

/** @param {Wanted} wanted @returns {Row[]} */
function scheduleByPool({ jobs, waiting, pools, hasWaits }) {
  /** @type {Map<string, {ran: Map<number, Bar[]>, jobs: Job[], waiting: Step[]}>} */
  const groups = new Map();
  const groupOf = (/** @type {string} */ name) => {
    let group = groups.get(name);
    if (!group) groups.set(name, (group = { ran: new Map(), jobs: [], waiting: [] }));
    return group;
  };
  for (const pool of pools) {
    const { ran } = groupOf(pool.name);
    for (let slot = 0; slot < Math.min(pool.size ?? 0, SCHEDULE_EMPTY); slot++) ran.set(slot, []);
  }
  /** @type {Bar[]} */
  const free = [];
  for (const job of jobs) {
    const held = Object.entries(job.slots);
    if (!held.length) free.push(scheduleRan(job));
    for (const [name, slots] of held) {
      const group = groupOf(name);
      group.jobs.push(job);
      for (const slot of slots) scheduleAdd(group.ran, slot, scheduleRan(job));
    }
  }
  for (const step of waiting) for (const name of Object.keys(step.pool)) groupOf(name).waiting.push(step);
  const rows = [];
  for (const [name, group] of groups) {
    const tokens = pools.find((pool) => pool.name === name)?.tokens ?? [];
    for (const [slot, lane] of [...group.ran].sort(([one], [other]) => one - other)) {
      rows.push(scheduleRow(name, tokens[slot] === undefined ? `slot ${slot}` : `slot ${slot} (${tokens[slot]})`, [lane]));
    }
    if (hasWaits) rows.push(...scheduleWaitRow(name, scheduleAllWaits(group.jobs, group.waiting)));
  }
  schedulePacked(free, SCHEDULE_EMPTY).forEach((lane, at) => rows.push(scheduleRow(NO_POOL, `${at + 1}`, [lane])));
  if (!hasWaits) return rows;
  const unbound = jobs.filter((job) => !Object.keys(job.slots).length);
  const idle = waiting.filter((step) => !Object.keys(step.pool).length);
  return [...rows, ...scheduleWaitRow(NO_POOL, scheduleAllWaits(unbound, idle))];
}

/** @param {string} group @param {string} name @param {Bar[][]} lanes @returns {Row} */
function scheduleRow(group, name, lanes) {
  return { key: `${group}\n${name}`, group, name, isWait: false, isHead: false, machine: "", lanes };
}

/** @param {string} group @param {Bar[]} bars @returns {Row[]} */
function scheduleWaitRow(group, bars) {
  if (!bars.length) return [];
  return [{ key: `${group}\nwaiting`, group, name: "waiting", isWait: true, isHead: false, machine: "", lanes: schedulePacked(bars) }];
}

/** @param {Job[]} jobs @param {Step[]} waiting */
function scheduleAllWaits(jobs, waiting) {
  const waited = jobs.filter((job) => job.started - job.queued > SCHEDULE_INSTANT);
  return [...waited.map(scheduleWaited), ...waiting.map(scheduleWaits)];
}

/** @param {Map<number, Bar[]>} lanes @param {number} key @param {Bar} bar */
function scheduleAdd(lanes, key, bar) {
  const lane = lanes.get(key);
  if (lane) lane.push(bar);
  else lanes.set(key, [bar]);
}

/**
 * The bars of a lane that can be seen, those too narrow to be told apart joined.
 * @param {Bar[]} lane @param {number} from @param {number} to @param {number} now
 * @param {number} pixel   seconds that a pixel stands for
 * @param {string} alone   key of the bar that is never joined
 * @returns {Bar[]}
 */
export function scheduleSeen(lane, from, to, now, pixel, alone = "") {
  let low = 0;
  let high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lane[middle].to ?? Infinity) < from) low = middle + 1;
    else high = middle;
  }
  /** @type {Bar[]} */
  const seen = [];
  for (let at = low; at < lane.length && lane[at].from <= to; at++) {
    const bar = lane[at];
    const last = seen[seen.length - 1];
    const isNarrow = (bar.to ?? now) - bar.from < SCHEDULE_NARROW * pixel && bar.key !== alone;
    const mayJoin = isNarrow && last && last.key !== alone && (last.count > 1 || (last.to ?? now) - last.from < SCHEDULE_NARROW * pixel);
    if (mayJoin && bar.from - (last.to ?? now) < pixel) scheduleJoin(seen, bar);
    else seen.push(bar);
  }
  return seen;
}

/** Most jobs at one time. @param {Job[]} jobs */
export function scheduleMost(jobs) {
  /** @type {[number, number][]} */
  const turns = [];
  for (const job of jobs) {
    turns.push([job.started, 1]);
    const end = scheduleEnd(job);
    if (end !== null) turns.push([end, -1]);
  }
  // One that ends makes room for one that starts at the same moment.
  turns.sort(([one, change], [other, otherChange]) => one - other || change - otherChange);
  let most = 0;
  let running = 0;
  for (const [, change] of turns) most = Math.max(most, (running += change));
  return most;
}

const TICKS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

/**
 * Where the axis has its marks, in seconds from the start, and what they say.
 * @param {number} from @param {number} to @param {number} most  how many there is room for
 * @returns {{at: number, words: string}[]}
 */
export function scheduleTicks(from, to, most) {
  const least = (to - from) / Math.max(1, most);
  const step = TICKS.find((each) => each >= least) ?? 86400 * Math.ceil(least / 86400);
  const ticks = [];
  for (let number = Math.max(0, Math.ceil(from / step - 1e-9)); number * step <= to; number++) {
    ticks.push({ at: number * step, words: scheduleClock(number * step, step) });
  }
  return ticks;
}

/** A moment since the start, as precise as the step between two marks. @param {number} seconds @param {number} step */
export function scheduleClock(seconds, step) {
  if (seconds === 0) return "0";
  if (seconds >= 86400 && step >= 3600) {
    const hours = Math.round((seconds % 86400) / 3600);
    return `${Math.floor(seconds / 86400)} d${hours ? ` ${hours} h` : ""}`;
  }
  const places = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  if (seconds < 60) return `${seconds.toFixed(places)} s`;
  const whole = duration(Math.floor(seconds + 1e-9));
  return places ? `${whole}${(seconds % 1).toFixed(places).slice(1)}` : whole;
}

/** Seconds that an axis spans to have some room ahead, so that it need not change all the time. @param {number} seconds */
export function scheduleSpan(seconds) {
  const round = [2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2700, 3600];
  const found = round.find((each) => each >= seconds);
  if (found !== undefined) return found;
  let span = 3600;
  while (span < seconds) span *= 1.25;
  return span;
}
