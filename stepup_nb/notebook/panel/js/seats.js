// Who sits where: makes of pools and steps the lanes to draw. Knows nothing of the page.

import { duration, roughly, slotsOf } from "./words.js";
import { MACHINES_HERE } from "./machines.js";

/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./types.js").Pool} Pool */

/** Slots up to which each has a place with all about its step; beyond, the places are small. */
export const SEATS_LARGE = 12;
/** Slots up to which each has a place at all; beyond, each step has one, and the free ones are counted. */
export const SEATS_EACH = 60;
/** Machines up to which each has a row of places; beyond, those on which nothing is in use are counted. */
export const SEATS_MACHINES = 12;
/** Failed steps that are listed. */
export const SEATS_FAILED = 5;

/**
 * A place in a lane.
 * @typedef {object} Seat
 * @property {string} key
 * @property {"free"|"taken"|"also"|"rest"} kind   also: one more slot of a step that has a place already; rest: all free slots
 * @property {Step|null} step
 * @property {number|null} slot
 * @property {string} mark       what is written on the place: its token or number, or how many slots
 * @property {boolean} leaves    held by its step still, but beyond the size
 */

/**
 * The places of a pool on one machine, or all machines of which there is nothing to say.
 * @typedef {object} Machine
 * @property {string} key
 * @property {string} name
 * @property {string} words   how full it is
 * @property {Seat[]} seats
 */

/**
 * A pool, or all that needs no pool.
 * @typedef {object} Lane
 * @property {string} key
 * @property {Pool|null} pool
 * @property {Seat[]} seats         empty where they are by machine
 * @property {Machine[]} machines   empty but for a pool that counts on each of several machines
 * @property {boolean} isDense
 * @property {Step[]} queue
 * @property {number} more    steps that wait, beyond those of the queue
 */

/** @typedef {{lanes: Lane[], failed: Step[], moreFailed: number}} Plan */

/**
 * @param {import("./types.js").Session} session
 * @param {Map<string, Step>} steps
 * @returns {Plan}
 */
export function seatsPlan(session, steps) {
  const found = seatsFind(steps);
  const lanes = session.pools.map((pool) => seatsLane(pool, found.byPool.get(pool.name) ?? [], steps));
  if (found.isPoolless) lanes.push(seatsPoolless(session, found, steps));
  found.failed.sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0) || a.seq - b.seq);
  return {
    lanes,
    failed: found.failed.slice(0, SEATS_FAILED),
    moreFailed: Math.max(0, found.failed.length - SEATS_FAILED),
  };
}

/**
 * Whether a step has slots or a worker now: also one that its cell does not declare any more, until its processes are gone.
 * @param {Step} step
 */
function seatsHolds(step) {
  return step.state === "RUNNING" || (step.job !== null && step.outcome === null && step.ended === null);
}

/** @param {Map<string, Step>} steps */
function seatsFind(steps) {
  /** @type {Map<string, Step[]>} */
  const byPool = new Map();
  /** @type {Step[]} */
  const failed = [];
  /** @type {Step[]} */
  const free = [];
  let waiting = 0;
  let isPoolless = false;
  for (const step of steps.values()) {
    if (step.dormant && !seatsHolds(step)) continue;
    if (step.state === "FAILED" && !step.dormant) failed.push(step);
    const asksNone = Object.keys(step.pool).length === 0;
    isPoolless ||= asksNone;
    if (step.state === "QUEUED" && asksNone) waiting++;
    if (!seatsHolds(step)) continue;
    const held = Object.keys(step.slots);
    if (!held.length) free.push(step);
    for (const name of held) {
      const holders = byPool.get(name);
      if (holders) holders.push(step);
      else byPool.set(name, [step]);
    }
  }
  return { byPool, failed, free, waiting, isPoolless };
}

/** @param {Pool} pool @param {Step[]} holders @param {Map<string, Step>} steps @returns {Lane} */
function seatsLane(pool, holders, steps) {
  const queue = seatsQueue(pool.queue, steps);
  const slots = slotsOf(pool);
  const seatsOf = slots === null || slots > SEATS_EACH ? seatsByStep : seatsBySlot;
  const machines = seatsMachines(pool, holders, seatsOf);
  return {
    key: `pool ${pool.name}`,
    pool,
    seats: machines.length ? [] : seatsOf(pool, holders),
    machines,
    isDense: (slots ?? holders.length) > SEATS_LARGE,
    queue,
    more: Math.max(0, pool.waiting - queue.length),
  };
}

/**
 * The places of each machine, where a pool counts on several.
 * @param {Pool} pool @param {Step[]} holders @param {(pool: Pool, holders: Step[]) => Seat[]} seatsOf
 * @returns {Machine[]}
 */
function seatsMachines(pool, holders, seatsOf) {
  if (!pool.per_machine || !pool.machines.length) return [];
  /** @type {Map<string, Step[]>} */
  const places = new Map(pool.machines.map(([name]) => [name, []]));
  for (const step of holders) {
    // One that has left the cluster is still a place for who is there.
    const name = step.place ?? pool.machines[0][0];
    const there = places.get(name);
    if (there) there.push(step);
    else places.set(name, [step]);
  }
  if (places.size < 2) return [];
  const shown = [...places].filter(([, there], at) => there.length || at < SEATS_MACHINES);
  const machines = shown.map(([name, there]) => {
    const used = there.reduce((sum, step) => sum + step.slots[pool.name].length, 0);
    const words = pool.size ? `${used} of ${pool.size}` : pool.size === 0 ? `closed, ${used} in use` : `${used} in use`;
    return { key: `at ${name}`, name: name || MACHINES_HERE, words, seats: seatsOf({ ...pool, used }, there) };
  });
  const idle = places.size - shown.length;
  if (idle) machines.push({ key: "idle", name: `+${idle} more`, words: "nothing in use", seats: [] });
  return machines;
}

/**
 * One place for each slot of the pool, and for those beyond its size that are held still.
 * @param {Pool} pool @param {Step[]} holders @returns {Seat[]}
 */
function seatsBySlot(pool, holders) {
  /** @type {Map<number, Step>} */
  const holderOf = new Map();
  for (const step of holders) for (const slot of step.slots[pool.name]) holderOf.set(slot, step);
  const size = pool.size ?? 0;
  const beyond = [...holderOf.keys()].filter((slot) => slot >= size).sort((a, b) => a - b);
  return [...Array(size).keys(), ...beyond].map((slot) => {
    const step = holderOf.get(slot) ?? null;
    const isFirst = step !== null && Math.min(...step.slots[pool.name]) === slot;
    return {
      key: `slot ${slot}`,
      kind: step ? (isFirst ? "taken" : "also") : "free",
      step,
      slot,
      mark: seatsMark(pool, slot),
      leaves: slot >= size,
    };
  });
}

/**
 * One place for each step, and one for all that is free.
 * @param {Pool} pool @param {Step[]} holders @returns {Seat[]}
 */
function seatsByStep(pool, holders) {
  const first = (/** @type {Step} */ step) => Math.min(...step.slots[pool.name]);
  /** @type {Seat[]} */
  const seats = [...holders]
    .sort((a, b) => first(a) - first(b))
    .map((step) => {
      const held = step.slots[pool.name];
      const mark = held.length > 1 ? `${held.length} slots` : seatsMark(pool, held[0]);
      return { key: `slot ${first(step)}`, kind: "taken", step, slot: first(step), mark, leaves: false };
    });
  const free = (pool.size ?? 0) - pool.used;
  if (pool.size !== null && free > 0) {
    seats.push({ key: "rest", kind: "rest", step: null, slot: null, mark: `${free} free`, leaves: false });
  }
  return seats;
}

/** What its step gets in the environment: the token where there is one, else the number. @param {Pool} pool @param {number} slot */
function seatsMark(pool, slot) {
  return slot < pool.tokens.length ? pool.tokens[slot] : `slot ${slot}`;
}

/**
 * @param {import("./types.js").Session} session
 * @param {ReturnType<typeof seatsFind>} found
 * @param {Map<string, Step>} steps
 * @returns {Lane}
 */
function seatsPoolless(session, { free, waiting }, steps) {
  const queue = seatsQueue(session.queue, steps);
  const shown = queue.filter((step) => Object.keys(step.pool).length === 0).length;
  const inOrder = [...free].sort((a, b) => (a.worker ?? 0) - (b.worker ?? 0) || a.seq - b.seq);
  return {
    key: "no pool",
    pool: null,
    seats: inOrder.map((step) => ({ key: step.name, kind: "taken", step, slot: null, mark: seatsWorker(step), leaves: false })),
    machines: [],
    isDense: free.length > SEATS_LARGE,
    queue,
    more: Math.max(0, waiting - shown),
  };
}

/** @param {Step} step */
function seatsWorker(step) {
  return step.worker === null ? "" : `worker ${step.worker}`;
}

/** @param {string[]} names @param {Map<string, Step>} steps */
function seatsQueue(names, steps) {
  /** @type {Step[]} */
  const queue = [];
  for (const name of names) {
    const step = steps.get(name);
    if (step) queue.push(step);
  }
  return queue;
}

/** How long a step runs, and of how long. @param {Step} step @param {number} now */
export function seatsElapsed(step, now) {
  if (step.started === null) return "";
  const elapsed = Math.max(0, now - step.started);
  // Hundredths that flicker tell nobody anything.
  const words = elapsed < 1 ? `${elapsed.toFixed(1)} s` : duration(elapsed);
  if (step.expected === null) return words;
  const join = elapsed > 1.2 * step.expected ? ", usually" : " of about";
  return `${words}${join} ${roughly(step.expected)}`;
}

/** The part of the expected time that is over, from 0 to 1; null if none is expected. @param {Step} step @param {number} now */
export function seatsShare(step, now) {
  if (step.started === null || !step.expected) return null;
  return Math.min(1, Math.max(0, (now - step.started) / step.expected));
}

/** How a failed step ended. @param {Step} step */
export function seatsEnding(step) {
  if (step.reason) return step.reason;
  if (step.outcome && step.outcome !== "failed") return step.outcome;
  if (step.returncode === null) return "failed";
  return step.returncode < 0 ? `ended by signal ${-step.returncode}` : `exit code ${step.returncode}`;
}

/** What is written on a place. @param {Seat} seat */
export function seatsMarked({ mark, leaves }) {
  return leaves ? `${mark} · leaves` : mark;
}

/** What there is to say of a taken place, in full. @param {Seat} seat @param {Step} step @param {string} machine  its name, or "" */
export function seatsTitle(seat, step, machine) {
  const lines = [step.label];
  if (seat.slot !== null) lines.push(seat.mark === `slot ${seat.slot}` ? seat.mark : `slot ${seat.slot}: ${seat.mark}`);
  if (machine) lines.push(`on ${machine}`);
  if (seat.leaves) lines.push("The pool is smaller now: this slot goes when its step ends.");
  return lines.join("\n");
}

/** What a free place says. @param {Pool} pool @param {boolean} isPaused */
export function seatsFree(pool, isPaused) {
  if (pool.reserved !== null) return `reserved for ${pool.reserved}`;
  return pool.paused || isPaused ? "free, paused" : "free";
}

/** What a lane without places says. @param {Lane} lane */
export function seatsNone({ pool }) {
  if (!pool) return "no step without a pool runs";
  if (pool.size === 0) return "closed: nothing starts";
  return "no limit: a step starts when a worker is free";
}
