// How numbers and states are said.

/** Glyph and word of each state: never colour alone. @type {Record<import("./types.js").State, string>} */
export const GLYPH = {
  PENDING: "○",
  CHECKING: "◎",
  QUEUED: "◔",
  RUNNING: "●",
  SUCCEEDED: "✓",
  FAILED: "✗",
  CANCELLED: "⊘",
};

/** States in the order in which they are counted. @type {import("./types.js").State[]} */
export const STATES = ["RUNNING", "QUEUED", "CHECKING", "PENDING", "SUCCEEDED", "FAILED", "CANCELLED"];

/** Seconds in words: 0.40 s, 12 s, 3:05, 1:02:03. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.995) return `${Math.max(0, seconds).toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** Seconds as one says them of something to come: 0.4 s, 5 s, 1:20. @param {number} seconds */
export function roughly(seconds) {
  if (seconds < 0.95) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  if (seconds < 9.95) return `${Math.round(seconds)} s`;
  return duration(seconds);
}

/** Bytes in words. @param {number} bytes */
export function size(bytes) {
  let number = bytes;
  for (const unit of ["B", "kB", "MB"]) {
    if (number < 999.5) return `${number < 9.95 && unit !== "B" ? number.toFixed(1) : Math.round(number)} ${unit}`;
    number /= 1000;
  }
  return `${number < 9.95 ? number.toFixed(1) : Math.round(number)} GB`;
}

/** "1 step", "2 steps". @param {number} number @param {string} noun */
export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Slots that a pool has on all its machines; null: no limit. @param {import("./types.js").Pool} pool */
export function slotsOf(pool) {
  return pool.size === null ? null : pool.size * Math.max(1, pool.machines.length);
}

/** What a pool's meter says. @param {import("./types.js").Pool} pool */
export function occupancy(pool) {
  const where = pool.machines.length > 1 ? ` on ${pool.machines.length} machines` : "";
  if (pool.size === 0 && !pool.used) return `closed, ${pool.waiting} waiting`;
  if (pool.size === null) return `${counted(pool.used, "slot")} in use${where}, no limit, ${pool.waiting} waiting`;
  if (pool.size === 0) return `closed, ${counted(pool.used, "slot")} still in use${where}, ${pool.waiting} waiting`;
  return `${pool.used} of ${counted(slotsOf(pool) ?? 0, "slot")} in use${where}, ${pool.waiting} waiting`;
}
