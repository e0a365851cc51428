// What kernel and panel tell each other. Types only: nothing here is left at run time.
//
// From the kernel come custom messages of three kinds: a `snapshot` with everything, a numbered `delta` with what
// has changed since the one before, and the `graph`, which only an open graph view asks for. Texts in them
// were made safe to show by the kernel: one line each, no control or bidi characters, bounded. They are still put in
// as text only. Times are seconds since the epoch by the kernel's clock.

/**
 * @typedef {"PENDING"|"CHECKING"|"QUEUED"|"RUNNING"|"SUCCEEDED"|"FAILED"|"CANCELLED"} State
 */

/**
 * A step.
 * @typedef {object} Step
 * @property {string} name      unique key; what actions and `follow` send back
 * @property {string} label     what people see, at most 80 characters
 * @property {State} state
 * @property {string} reason    why it is in that state, or waits, in words; may be empty
 * @property {Record<string, number>} pool     slots it asks for, by pool
 * @property {Record<string, number[]>} slots  slot numbers its current or last job held, by pool
 * @property {number|null} worker    worker number of its current or last job
 * @property {number} seq       order of declaration
 * @property {number|null} job  number of its current or last job
 * @property {string|null} outcome   how that job ended: succeeded, failed, cancelled, timed out, interrupted, lost
 * @property {number|null} returncode
 * @property {number|null} queued    when that job got in line
 * @property {number|null} started
 * @property {number|null} ended
 * @property {number|null} duration  seconds that the last finished job took
 * @property {number|null} expected  seconds it will probably take
 * @property {number|null} peak      bytes of memory at most
 * @property {boolean} dormant  known from the database, not declared in this session
 * @property {boolean} skipped  up to date without running
 * @property {boolean} optional
 * @property {string} cell      of origin, in words; may be empty
 * @property {string} last      last line of its output
 * @property {string} machine   address of the cluster's worker that its current or last job ran on; "" for this machine
 * @property {string|null} place     name of the machine on which that job has the slots that are counted by machine
 */

/**
 * A pool.
 * @typedef {object} Pool
 * @property {string} name
 * @property {number|null} size      null: no limit
 * @property {number} used
 * @property {number} waiting
 * @property {string[]} tokens       of the slots, if they have any
 * @property {boolean} paused
 * @property {string|null} reserved  label of the step that free slots are kept for
 * @property {string[]} queue        names of the first waiting steps, in the order in which they would start
 * @property {boolean} per_machine    it counts on each machine for itself: `size` is that of each
 * @property {[string, number][]} machines   of such a pool: name ("" for this one) and slots in use
 */

/**
 * The cluster on which steps run.
 * @typedef {object} Cluster
 * @property {string} kind        what people call it
 * @property {string} address
 * @property {string} dashboard   address for a browser; may be empty
 * @property {number|null} threads   null: it is gone
 */

/**
 * Everything that is not about one step.
 * @typedef {object} Session
 * @property {string} notebook   file name, or ""
 * @property {number} workers
 * @property {number} busy       workers in use
 * @property {boolean} paused
 * @property {boolean} draining
 * @property {Pool[]} pools
 * @property {string[]} queue    names of the first steps that wait for a worker alone, in order
 * @property {Partial<Record<State, number>>} counts   of the steps that are not dormant
 * @property {string[]} notes    what the user has to know
 * @property {number|null} remaining   seconds until all is done, as far as recorded durations tell
 * @property {{used: number, limit: number|null}|null} memory   bytes
 * @property {boolean} lost      the director is gone
 * @property {Cluster|null} cluster   null: steps run on this machine
 */

/**
 * One attempt to run a step: a row of `stepup_nb.history()`.
 * @typedef {object} Job
 * @property {number} job
 * @property {string} step
 * @property {string|null} outcome  null while it runs
 * @property {number|null} returncode
 * @property {number} queued
 * @property {number} started
 * @property {number|null} ended
 * @property {Record<string, number[]>} slots
 * @property {number} worker
 * @property {number|null} peak_rss
 * @property {number|null} cpu
 * @property {string} why           why it ran
 * @property {string} machine       as that of a step
 */

/** A piece of text and, where it has one, its style: words of CSS classes without their prefix. @typedef {[string]|[string, string]} Span */
/** A line of output: 0 for stdout, 1 for stderr, and its spans. @typedef {[0|1, Span[]]} Line */

/**
 * What is new in the output of a followed job: from line `from` on (counted from the first line of that job) the lines are
 * these; a later message may replace the last line again.
 * @typedef {object} Log
 * @property {string} step
 * @property {number} job
 * @property {number} from
 * @property {number} first      what comes before this line is not kept any more
 * @property {Line[]} lines
 * @property {number} hidden     lines before the first one that can be had here; -1 if nobody counted them
 * @property {string|null} path  of the full log
 * @property {boolean} final     nothing more will come
 */

/**
 * All about one followed step.
 * @typedef {object} Details
 * @property {string} step
 * @property {string} command
 * @property {string} workdir
 * @property {string[]} inp
 * @property {string[]} out
 * @property {string[]} vol
 * @property {string[]} env
 * @property {string} cell
 * @property {string[]} why     why it ran, runs or waits, in sentences
 * @property {string[]} notes
 * @property {Job[]} jobs       its jobs over all sessions, newest first, at most 20
 */

/** What became of an action; `words` is empty if it was done. @typedef {{id: number, words: string}} Answer */

/** @typedef {{kind: "snapshot", seq: number, at: number, session: Session, steps: Step[], jobs: Job[], logs: Log[], details: Details[], answers?: Answer[]}} Snapshot */

/**
 * @typedef {object} Delta
 * @property {"delta"} kind
 * @property {number} seq
 * @property {number} at
 * @property {Session} [session]
 * @property {Step[]} [steps]
 * @property {string[]} [gone]
 * @property {Job[]} [jobs]
 * @property {Log[]} [logs]
 * @property {Details[]} [details]
 * @property {Answer[]} [answers]
 */

/** A step in the graph: name, paths it reads, paths it makes, names of the steps it comes after. @typedef {[string, string[], string[], string[]]} Node */
/** @typedef {{kind: "graph", nodes: Node[]}} Graph */

/** @typedef {Snapshot|Delta|Graph} FromKernel */

/** @typedef {"cancel"|"rerun"|"rerun failed"|"cancel all"|"pause"|"resume"|"resize"|"workers"|"run"} Verb */

/**
 * To the kernel.
 * @typedef {{kind: "hello"}
 *   | {kind: "follow", view: string, step: string|null, job: number|null}
 *   | {kind: "graph", view: string, open: boolean}
 *   | {kind: "act", id: number, verb: Verb, step?: string, pool?: string, size?: number|null, number?: number}} ToKernel
 */

/**
 * What every view gets.
 * @typedef {object} Context
 * @property {import("./store.js").Store} store
 * @property {() => string|null} selected     name of the selected step
 * @property {(name: string|null, options?: {tab?: string}) => void} select   select a step for the log; with a tab, go there too
 * @property {(verb: Verb, fields?: {step?: string, pool?: string, size?: number|null, number?: number}) => void} act
 * @property {(message: ToKernel) => void} send
 * @property {string} view    id of this view of the panel
 * @property {() => number} now   the kernel's clock
 */

/**
 * A view: `paint` brings it up to date (called at most once a frame, and once a second while something runs), only while it is shown.
 * @typedef {object} View
 * @property {HTMLElement} el
 * @property {() => void} paint
 * @property {() => void} dispose
 * @property {() => void} [hide]   it is not shown any more: the kernel need not tell what only this view wants
 * @property {(event: KeyboardEvent) => boolean} [onKey]   whether it took the key
 */

export {};
