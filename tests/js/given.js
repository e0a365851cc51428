// Steps and jobs for tests: what is not said has the plainest value.

/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Step} Step */
/** @typedef {import("../../stepup_nb/notebook/panel/js/types.js").Job} Job */

/** @param {string} name @param {Partial<Step>} [fields] @returns {Step} */
export function step(name, fields = {}) {
  return {
    name,
    label: name,
    state: "PENDING",
    reason: "",
    pool: {},
    slots: {},
    worker: null,
    seq: 0,
    job: null,
    outcome: null,
    returncode: null,
    queued: null,
    started: null,
    ended: null,
    duration: null,
    expected: null,
    peak: null,
    dormant: false,
    skipped: false,
    optional: false,
    cell: "",
    last: "",
    machine: "",
    place: null,
    ...fields,
  };
}

/** @param {number} number @param {number} started @param {number|null} ended @param {Partial<Job>} [fields] @returns {Job} */
export function job(number, started, ended, fields = {}) {
  return {
    job: number,
    step: `step ${number}`,
    outcome: ended === null ? null : "succeeded",
    returncode: ended === null ? null : 0,
    queued: started,
    started,
    ended,
    slots: {},
    worker: 0,
    peak_rss: null,
    cpu: null,
    why: "never ran",
    machine: "",
    ...fields,
  };
}
