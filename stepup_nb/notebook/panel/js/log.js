// The output of the selected step as it comes, and what there is to know about that step.

import { counted, duration } from "./words.js";
import { h, keep, say, set, show } from "./dom.js";
import { aboutOf, markState, oncePerFrame, stateMark, stateOfOutcome, timeOf } from "./parts.js";

/** @typedef {import("./types.js").Step} Step */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").Line} Line */
/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./store.js").Output} Output */

/** The styles that are known; what else may be said of a text is left out. */
const LOG_STYLES = new Set("bold dim italic underline strike red green yellow blue magenta cyan grey".split(" "));
/** Milliseconds between two wishes to follow a step: the selection may run through a table. */
const LOG_PAUSE = 120;
/** Paths that a list shows before it says how many more there are. */
const LOG_PATHS = 40;
/** Pixels from the end that still count as the end. */
const LOG_END = 12;
const LOG_HELD = "More has come: Follow shows it.";
/** From this width on there is room for the facts beside the output. */
const LOG_WIDE = 720;

/** Text of a line. @param {Line} line */
export function logText([, spans]) {
  return spans.map(([text]) => text).join("");
}

/** All text that is here, as it goes to the clipboard. @param {Line[]} lines */
export function logCopy(lines) {
  return lines.map((line) => `${logText(line)}\n`).join("");
}

/** Classes of a span. @param {string|undefined} style */
export function logClasses(style) {
  const words = (style ?? "").split(" ").filter((word) => LOG_STYLES.has(word));
  return words.map((word) => `snb-a-${word}`).join(" ");
}

/**
 * What has to be done to the lines that are drawn: how many go at the front, how many of those after that stay.
 * @param {{first: number, lines: Line[]}} drawn @param {{first: number, lines: Line[]}} output
 */
export function logChange(drawn, output) {
  const front = output.first - drawn.first;
  if (front < 0 || front >= drawn.lines.length) return { front: drawn.lines.length, stay: 0 };
  let stay = 0;
  const most = Math.min(drawn.lines.length - front, output.lines.length);
  while (stay < most && drawn.lines[front + stay] === output.lines[stay]) stay++;
  return { front, stay };
}

/** What is not to be seen here, and where it is. @param {Output} output */
export function logHidden(output) {
  const where = output.path ? `full log at ${output.path}` : "";
  const hidden = output.hidden < 0 ? "earlier lines" : counted(output.hidden, "line");
  if (!output.hidden) return where;
  return `${hidden} hidden${where ? `, ${where}` : ""}`;
}

/** Why there is no line. @param {Step|undefined} step @param {Output|undefined} output @param {number|null} job */
export function logEmpty(step, output, job) {
  if (!step) return "This step is gone.";
  if (job === null) return step.dormant || step.skipped ? "No output is recorded." : "It has not run yet.";
  return output?.final ? "It printed nothing." : "Nothing printed yet.";
}

/** When something was: the time of day, before that the day as well. @param {number} at @param {number} now */
export function logWhen(at, now) {
  const date = new Date(at * 1000);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  const isToday = date.toDateString() === new Date(now * 1000).toDateString();
  if (isToday) return `${time}:${two(date.getSeconds())}`;
  const month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ")[date.getMonth()];
  return `${date.getDate()} ${month} ${time}`;
}

/** How a job ended. @param {Job} job @param {number} now */
export function logOutcome(job, now) {
  if (job.outcome === null) return "running";
  const code = job.outcome === "failed" && job.returncode ? `, exit code ${job.returncode}` : "";
  const seconds = (job.ended ?? now) - job.started;
  return `${job.outcome}${code}, ${duration(seconds)}`;
}

/** @param {Line} line @returns {HTMLElement} */
function logLine([stream, spans]) {
  const el = h(stream ? "div.log-line.log-stderr" : "div.log-line");
  if (stream) el.append(h("span.unseen", {}, "stderr: "));
  for (const [text, style] of spans) {
    const classes = logClasses(style);
    el.append(classes ? h("span", { class: classes }, text) : text);
  }
  return el;
}

/**
 * A heading that opens and closes what it stands above.
 * @param {string} name @param {HTMLElement} content
 */
function logFold(name, content) {
  const press = () => {
    show(content, Boolean(content.hidden));
    set(button, "aria-expanded", String(!content.hidden));
  };
  const button = h("button.log-fold", { type: "button", "aria-expanded": "true", onclick: press }, name);
  return h("section.log-fact", {}, button, content);
}

/** Write to the clipboard, also where the page may not use it. @param {string} text @param {HTMLElement} near */
async function logWrite(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = /** @type {HTMLTextAreaElement} */ (h("textarea.unseen", { "aria-hidden": "true", tabindex: -1 }));
    area.value = text;
    near.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

/** @param {import("./types.js").Context} context @returns {import("./types.js").View} */
export function logView(context) {
  const { store } = context;
  /** @type {string|null} */
  let name = null;
  /** @type {number|null} an earlier job that was chosen; null for the current one */
  let chosen = null;
  let isFollowing = true;
  /** @type {boolean|null} whether the facts are open; null until someone said */
  let isOpen = null;
  /** @type {{output: Output|undefined, version: number, first: number, lines: Line[]}} */
  let drawn = { output: undefined, version: -1, first: 0, lines: [] };
  const follower = logFollower(context);
  // Lines that come into sight may turn out higher than they were taken for, and the end is further down then.
  const settle = oncePerFrame(() => isFollowing && toEnd());

  const mark = stateMark();
  const title = h("span.log-title.label.line");
  const time = h("span.muted.line");
  const wrap = h("button.button", { type: "button", "aria-pressed": "true", onclick: toggleWrap }, "Wrap");
  const follow = h("button.button", { type: "button", title: "stay at the end ( f )", onclick: () => setFollow(!isFollowing) }, "Follow");
  const copy = h("button.button", { type: "button", onclick: copyAll }, "Copy");
  const about = h("button.button", { type: "button", onclick: () => setOpen(Boolean(facts.el.hidden)) }, "About");
  const head = h("div.tools.log-head", {}, mark, title, time, h("span.log-buttons", {}, wrap, follow, copy, about));
  const empty = h("p.empty");
  const lines = h("div.log-lines");
  const output = h("div.log-output.scroll.code", { role: "log", "aria-live": "off", tabindex: 0, onscroll: onScroll, "data-wrap": true }, lines, empty);
  const hidden = h("span.line");
  const heard = h("span", { role: "status" });
  const foot = h("div.log-foot.muted", {}, hidden, heard, h("span.log-legend", {}, "stderr"));
  const facts = logFacts(store, (job) => {
    chosen = job === store.steps.get(name ?? "")?.job ? null : job;
    setFollow(true);
  });
  const main = h("div.log-main", {}, h("div.log-column", {}, output, foot), facts.el);
  const nothing = h("p.empty", {}, "Select a step to see its output.");
  const el = h("div.log", {}, nothing, head, main);

  function toggleWrap() {
    const isWrapped = wrap.getAttribute("aria-pressed") !== "true";
    set(wrap, "aria-pressed", String(isWrapped));
    set(output, "data-wrap", isWrapped);
    if (isFollowing) toEnd();
  }

  /** @param {boolean} isOn */
  function setFollow(isOn) {
    isFollowing = isOn;
    set(follow, "aria-pressed", String(isOn));
    if (!isOn) return;
    paint();
    toEnd();
  }

  /** @param {boolean} isOn */
  function setOpen(isOn) {
    isOpen = isOn;
    paint();
  }

  function toEnd() {
    output.scrollTop = output.scrollHeight;
  }

  let top = 0;
  function onScroll() {
    const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < LOG_END;
    // Lines that come make the end move away without anyone scrolling: only going up lets go.
    if (isAtEnd !== isFollowing && (isAtEnd || output.scrollTop < top)) {
      isFollowing = isAtEnd;
      set(follow, "aria-pressed", String(isAtEnd));
    }
    top = output.scrollTop;
  }

  async function copyAll() {
    const isDone = await logWrite(logCopy(drawn.lines), el);
    say(heard, isDone ? `${counted(drawn.lines.length, "line")} copied` : "The browser does not allow to copy.");
    setTimeout(() => say(heard, ""), 2000);
  }

  function paint() {
    if (context.selected() !== name) {
      name = context.selected();
      chosen = null;
      isFollowing = true;
    }
    follower.want(name, chosen);
    show(nothing, name === null);
    show(head, name !== null);
    show(main, name !== null);
    if (name === null) return;
    const step = store.steps.get(name);
    const job = chosen ?? step?.job ?? null;
    paintHead(step, job);
    paintLines(step, job);
    paintFacts(step, job);
  }

  /** @param {Step|undefined} step @param {number|null} job */
  function paintHead(step, job) {
    say(title, step?.label ?? String(name));
    set(title, "title", title.textContent);
    set(output, "aria-label", `output of ${title.textContent}`);
    const earlier = chosen === null ? undefined : jobsOf().find((each) => each.job === job);
    show(mark, Boolean(step));
    if (earlier) markState(mark, stateOfOutcome(earlier.outcome));
    else if (step) markState(mark, step.state);
    const machine = store.machineOf(earlier ?? step);
    const words = earlier
      ? `job of ${logWhen(earlier.started, context.now())}: ${logOutcome(earlier, context.now())}`
      : step
        ? timeOf(step, context.now()) + aboutOf(step)
        : "";
    say(time, [words, machine && `on ${machine}`].filter(Boolean).join(" "));
    set(follow, "aria-pressed", String(isFollowing));
  }

  /** @returns {Job[]} */
  function jobsOf() {
    return (name !== null && store.details.get(name)?.jobs) || [];
  }

  /** @param {Step|undefined} step @param {number|null} job */
  function paintLines(step, job) {
    const shown = job === null ? undefined : store.outputs.get(job);
    show(empty, !shown?.lines.length);
    if (!shown?.lines.length) say(empty, logEmpty(step, shown, job));
    say(hidden, shown ? logHidden(shown) : "");
    set(hidden, "title", hidden.textContent);
    if (shown === drawn.output && (!shown || shown.version === drawn.version)) return;
    if (shown !== drawn.output) {
      lines.replaceChildren();
      drawn = { output: shown, version: -1, first: shown?.first ?? 0, lines: [] };
    }
    if (!shown) return;
    const { front, stay } = logChange(drawn, shown);
    // Who scrolled up reads: what is read stays, even when the store has let go of it.
    const isHeld = !isFollowing && front > 0 && drawn.lines.length > 0;
    if (isHeld || heard.textContent === LOG_HELD) say(heard, isHeld ? LOG_HELD : "");
    if (isHeld) return;
    for (let line = 0; line < front; line++) lines.firstChild?.remove();
    while (lines.childElementCount > stay) lines.lastChild?.remove();
    lines.append(...shown.lines.slice(stay).map(logLine));
    drawn = { output: shown, version: shown.version, first: shown.first, lines: shown.lines.slice() };
    if (!isFollowing) return;
    toEnd();
    settle.ask();
  }

  /** @param {Step|undefined} step @param {number|null} job */
  function paintFacts(step, job) {
    const isShown = isOpen ?? el.clientWidth >= LOG_WIDE;
    show(facts.el, isShown);
    set(about, "aria-expanded", String(isShown));
    if (isShown) facts.paint(step, name === null ? undefined : store.details.get(name), job, context.now());
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key !== "f") return false;
    setFollow(!isFollowing);
    return true;
  }

  function dispose() {
    settle.stop();
    follower.dispose();
  }

  const hide = () => follower.want(null, null);

  return { el, paint, hide, dispose, onKey };
}

/**
 * Tells the kernel which output is wanted, a few times a second at most.
 * @param {import("./types.js").Context} context
 */
function logFollower(context) {
  const { store, send, view } = context;
  /** @type {{step: string|null, job: number|null}} */
  let wanted = { step: null, job: null };
  let sent = wanted;
  let outputs = store.outputs;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;

  function tell() {
    timer = undefined;
    if (wanted === sent) return;
    sent = wanted;
    send({ kind: "follow", view, ...wanted });
    timer = setTimeout(tell, LOG_PAUSE);
  }
  return {
    /** @param {string|null} step @param {number|null} job */
    want(step, job) {
      const isOther = step !== wanted.step || job !== wanted.job;
      // After everything came anew, as from a kernel that was restarted, what was followed may have to be asked for again.
      const isLost = outputs !== store.outputs && step !== null && !store.outputs.has(job ?? store.steps.get(step)?.job ?? -1);
      outputs = store.outputs;
      if (isOther || isLost) wanted = { step, job };
      if (timer === undefined) tell();
    },
    dispose() {
      clearTimeout(timer);
      if (sent.step !== null) send({ kind: "follow", view, step: null, job: null });
    },
  };
}

/**
 * What is known about a step, beside its output.
 * @param {import("./store.js").Store} store
 * @param {(job: number) => void} choose
 */
function logFacts(store, choose) {
  const why = h("ul.log-list");
  const notes = h("ul.log-list");
  const command = h("pre.log-command.code.scroll");
  const files = h("dl.log-files");
  const jobs = h("ul.log-jobs");
  const sections = {
    why: logFold("Why", why),
    notes: logFold("Notes", notes),
    command: logFold("Command", command),
    files: logFold("Files and surroundings", files),
    jobs: logFold("Jobs", jobs),
  };
  const el = h("aside.log-facts.scroll", { "aria-label": "about the step" }, ...Object.values(sections));

  /** @param {HTMLElement} list @param {string[]} sentences */
  function paintSentences(list, sentences) {
    keep(list, sentences.entries(), ([at]) => String(at), () => h("li"), (item, [, sentence]) => say(item, sentence));
  }

  /** @param {import("./types.js").Details} details @param {string} machine */
  function paintFiles(details, machine) {
    /** @type {[string, string[]][]} */
    const all = [
      ["reads", details.inp],
      ["makes", details.out],
      ["volatile", details.vol],
      ["environment", details.env],
      ["folder", details.workdir && details.workdir !== "." && details.workdir !== "./" ? [details.workdir] : []],
      ["cell", details.cell ? [details.cell] : []],
      ["machine", machine ? [machine] : []],
    ];
    const full = all.filter(([, values]) => values.length);
    keep(files, full, ([term]) => term, ([term]) => h("div", {}, h("dt", {}, term), h("dd.code")), (row, [, values]) => {
      const surplus = values.length - LOG_PATHS;
      const shown = surplus > 0 ? [...values.slice(0, LOG_PATHS), `and ${surplus} more`] : values;
      const list = /** @type {HTMLElement} */ (row.lastElementChild);
      keep(list, shown.entries(), ([at]) => String(at), () => h("div"), (item, [, value]) => say(item, value));
    });
    show(sections.files, full.length > 0);
  }

  /** @param {Job[]} list @param {number|null} shown @param {number} now */
  function paintJobs(list, shown, now) {
    show(sections.jobs, list.length > 0);
    keep(jobs, list, ({ job }) => String(job), makeJob, (row, job) => {
      const button = /** @type {HTMLElement} */ (row.firstElementChild);
      const state = stateOfOutcome(job.outcome);
      set(button, "aria-current", job.job === shown ? "true" : null);
      set(button, "title", job.why || null);
      const [mark, when, outcome] = button.children;
      markState(mark, state);
      say(when, logWhen(job.started, now));
      const machine = store.machineOf(job);
      say(outcome, machine ? `${logOutcome(job, now)}, ${machine}` : logOutcome(job, now));
    });
  }

  /** @param {Job} job */
  function makeJob({ job }) {
    const mark = stateMark();
    mark.classList.add("snb-log-glyph");
    return h("li", {}, h("button.log-job", { type: "button", onclick: () => choose(job) }, mark, h("span"), h("span.line")));
  }

  /** Sentences that say why, or the short reason until they are here. @param {Step|undefined} step @param {string[]|undefined} sentences */
  const reasons = (step, sentences) => (sentences?.length ? sentences : step?.reason ? [step.reason] : []);

  return {
    el,
    /** @param {Step|undefined} step @param {import("./types.js").Details|undefined} details @param {number|null} job @param {number} now */
    paint(step, details, job, now) {
      const sentences = reasons(step, details?.why);
      paintSentences(why, sentences);
      show(sections.why, sentences.length > 0);
      paintSentences(notes, details?.notes ?? []);
      show(sections.notes, Boolean(details?.notes.length));
      say(command, details?.command ?? "");
      show(sections.command, Boolean(details?.command));
      show(sections.files, Boolean(details));
      const shown = details?.jobs.find((each) => each.job === job) ?? step;
      if (details) paintFiles(details, shown?.machine ?? "");
      paintJobs(details?.jobs ?? [], job, now);
    },
  };
}
