"""How soon the panel shows what is, and how it feels: `make bench-panel` prints it.

A real JupyterLab in a real Chromium on this machine, whose clock is the same for kernel, steps and page. The page
notes when something appears in it; what happened when is known from the history, or printed by the step itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import chromium
from browser.helpers_lab import Browser, Page, Server, cells, write
from playwright.sync_api import sync_playwright

BEGIN = (
    "%load_ext stepup_nb\n%stepup workers 8\nfrom stepup_nb.api import pool, runsh\nimport json, stepup_nb"
)
HISTORY = "print('HISTORY' + json.dumps([[r['step'], r['started'], r['ended']] for r in stepup_nb.history()]) + 'END')"
CELLS = {
    "idle": "pass",
    "time.sleep": "import time; time.sleep(600)",
    "pure Python": "while True: sum(i for i in range(1000))",
}

WATCH = """
window.seen = {};
const note = () => {
    const now = Date.now() / 1000;
    for (const seat of document.querySelectorAll('.snb-seat-label')) {
        if (seat.offsetParent && !(seat.textContent in window.seen)) window.seen[seat.textContent] = now;
    }
    for (const line of document.querySelectorAll('[role=log] *')) {
        const text = line.childElementCount ? '' : line.textContent;
        if (/^at \\d/.test(text) && !(text in window.seen)) window.seen[text] = now;
    }
};
window.watcher = new MutationObserver(note);
window.watcher.observe(arg, {subtree: true, childList: true, characterData: true});
"""
FRAMES = """
(arg) => new Promise((done) => {
    const gaps = [];
    let before = performance.now();
    const end = before + arg.seconds * 1000;
    const scrolled = [...document.querySelectorAll(arg.scroll)].find((each) => each.scrollHeight > each.clientHeight);
    const frame = (now) => {
        gaps.push(now - before);
        before = now;
        if (scrolled) scrolled.scrollTop = (scrolled.scrollTop + 120) % (scrolled.scrollHeight - scrolled.clientHeight);
        if (now < end) requestAnimationFrame(frame);
        else done({gaps, scrolled: !!scrolled});
    };
    requestAnimationFrame(frame);
})
"""
CLICK = """
(arg) => new Promise((done) => {
    const tab = [...document.querySelectorAll('[role=tab]')].find((each) => each.textContent === arg);
    const began = performance.now();
    const drawn = () => done(performance.now() - began);
    setTimeout(() => { tab.click(); requestAnimationFrame(() => requestAnimationFrame(drawn)); });
})
"""

Figures = dict[str, dict[str, float]]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and worst."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "worst": ordered[-1],
        "number": len(ordered),
    }


def kind_of(frame: bytes) -> str:
    """Return the type of the message in a frame of the server's websocket (v1.kernel.websocket.jupyter.org)."""
    number = int.from_bytes(frame[:8], "little")
    offsets = [int.from_bytes(frame[8 * at : 8 * at + 8], "little") for at in range(1, number + 1)]
    return str(json.loads(frame[offsets[1] : offsets[2]])["msg_type"])


@contextmanager
def notebook(server: Server, browser: Browser, *sources: str) -> Iterator[Page]:
    with browser.open(server, write(server, cells(*sources)), width=1400, height=1200) as page:
        yield page


def region(page: Page, cell: str) -> Any:
    found = page.cell(cell).get_by_role("region", name="StepUp", exact=True)
    found.wait_for()
    return found


def watch(page: Page, cell: str) -> None:
    """Let the page note when steps and lines appear in the panel."""
    page.page.evaluate(f"(arg) => {{ {WATCH} }}", region(page, cell).element_handle())


def seen(page: Page) -> dict[str, float]:
    return dict(page.ask("return window.seen"))


def history(page: Page, cell: str) -> list[tuple[str, float, float]]:
    page.run(cell)
    text = page.shown(cell)
    return json.loads(text[text.index("HISTORY") + 7 : text.index("END")])


def until(page: Page, what: str) -> None:
    """Wait until the page has seen something."""
    deadline = time.monotonic() + 60
    while what not in seen(page):
        assert time.monotonic() < deadline, what
        page.page.wait_for_timeout(50)


def latency(server: Server, browser: Browser) -> Figures:
    """From the start of a step to its seat, from a line to the log: in each kind of busy kernel."""
    figures: Figures = {}
    steps = "pool('two', 2)\nfor i in range(40): runsh('sleep 0.2', name=f'step {i}', pool='two')"
    talk = "for i in $(seq 60); do date '+at %s.%N'; sleep 0.1; done; echo at 9.9"
    for kind, code in CELLS.items():
        with notebook(server, browser, BEGIN, "%stepup panel", f"{steps}\n{code}", HISTORY) as page:
            page.run("c0", "c1")
            watch(page, "c1")
            page.start("c2")
            until(page, "step 39")
            if kind != "idle":
                page.interrupt()
            page.finish()
            shown = seen(page)
            late = [shown[step] - started for step, started, _ in history(page, "c3")]
            figures[f"a step that starts is in its lane, {kind}"] = spread(late)
        with notebook(
            server, browser, BEGIN, "%stepup panel", f"runsh({talk!r}, name='talker')\n{code}"
        ) as page:
            page.run("c0", "c1")
            watch(page, "c1")
            page.start("c2")
            until(page, "talker")
            region(page, "c1").get_by_text("talker").first.click()
            region(page, "c1").get_by_role("tab", name="Log", exact=True).click()
            until(page, "at 9.9")
            if kind != "idle":
                page.interrupt()
            page.finish()
            # Those that came before the log was looked at are not late.
            lines = {float(text[3:]): when for text, when in seen(page).items() if text.startswith("at 1")}
            first = min(lines.values())
            late = [when - printed for printed, when in lines.items() if printed > first]
            figures[f"a printed line is in the log, {kind}"] = spread(late)
    return figures


def resize(server: Server, browser: Browser) -> Figures:
    """From Enter in the field of a pool's size to the start of the steps that it lets in."""
    late = []
    code = "pool('p', 1)\nfor i in range(9): runsh('sleep 2', name=f's{i}', pool='p')"
    for _ in range(5):
        with notebook(server, browser, BEGIN, "%stepup panel", code, HISTORY) as page:
            page.run("c0", "c1", "c2")
            field = region(page, "c1").get_by_role("spinbutton", name="size of pool p", exact=True)
            field.fill("4")
            page.page.evaluate(
                "(field) => field.addEventListener('keydown', () => { window.pressed = Date.now() / 1000 }, true)",
                field.element_handle(),
            )
            field.press("Enter")
            page.page.wait_for_timeout(500)
            pressed = float(page.ask("return window.pressed"))
            late += [started - pressed for _, started, _ in history(page, "c3")[1:4]]
    return {"a new size starts steps": spread(late)}


def thousands(server: Server, browser: Browser, number: int = 5000) -> Figures:
    """Scrolling through many steps while 20 a second change; how long the first picture takes."""
    code = (
        f"for i in range({number}): runsh(f': {{i}}', name=f'step {{i:04}}', block=True)\n"
        "pool('p', 2)\nfor i in range(400): runsh('sleep 0.1', name=f'busy {i:03}', pool='p')"
    )
    figures: Figures = {}
    with notebook(server, browser, BEGIN, code, "%stepup panel") as page:
        page.run("c0", "c1")
        began = time.monotonic()
        page.start("c2")
        region(page, "c2").get_by_role("meter", name="pool p", exact=True).wait_for()
        figures["first picture of 5,400 steps"] = spread([time.monotonic() - began])
        region(page, "c2").get_by_role("tab", name="Steps", exact=True).click()
        region(page, "c2").get_by_role("row").nth(5).wait_for()
        for tab, scroll in (
            ("Steps", ".snb-steps *, .snb-steps"),
            ("Pools", ".snb-lanes"),
            ("Timeline", ".none"),
        ):
            region(page, "c2").get_by_role("tab", name=tab, exact=True).click()
            found = page.page.evaluate(FRAMES, {"seconds": 4, "scroll": scroll})
            gaps = [gap / 1000 for gap in found["gaps"][1:]]
            figures[f"frames in {tab}{', scrolling' if found['scrolled'] else ''}"] = spread(gaps)
            figures[f"frames a second in {tab}"] = spread([len(gaps) / sum(gaps)])
    return figures


def flood(server: Server, browser: Browser) -> Figures:
    """A step that prints as fast as it can for 10 s, followed in the log."""
    code = "runsh(\"timeout 10 yes 'all work and no play makes Jack a dull boy' || true\", name='flood')"
    messages: list[tuple[float, int]] = []
    with notebook(server, browser, BEGIN, "%stepup panel", code) as page:

        def take(data: str | bytes) -> None:
            # Not those by which the kernel says that it heard a click.
            if isinstance(data, bytes) and kind_of(data) in ("comm_msg", "update_display_data"):
                messages.append((time.monotonic(), len(data)))

        page.page.on("websocket", lambda ws: ws.on("framereceived", take))
        page.go()
        page.run("c0", "c1", "c2")
        found = region(page, "c1")
        found.get_by_text("flood").first.click()
        found.get_by_role("tab", name="Log", exact=True).click()
        page.page.wait_for_timeout(1500)
        messages.clear()
        began = time.monotonic()
        clicks = []
        for turn in range(16):
            clicks.append(page.page.evaluate(CLICK, "Log" if turn % 2 else "Steps") / 1000)
            page.page.wait_for_timeout(250)
        seconds = time.monotonic() - began
        return {
            "flood: messages a second": spread([len(messages) / seconds]),
            "flood: MiB a second": spread([sum(size for _, size in messages) / seconds / 2**20]),
            "flood: a click is handled": spread(clicks),
        }


PARTS = {"latency": latency, "resize": resize, "thousands": thousands, "flood": flood}


def main() -> None:
    """Measure, print, and write it down where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    executable = chromium.find() or sys.exit(chromium.ADVICE)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as aside, sync_playwright() as playwright:
        server = Server(Path(aside) / "jupyter")
        try:
            server.wait()
            browser = Browser(playwright, executable)
            print(f"{platform.machine()}, {os.cpu_count()} cores, Chromium {browser.chromium.version}\n")
            print(f"{'seconds, unless it says otherwise':60} {'median':>8} {'p95':>8} {'worst':>8} {'n':>5}")
            for part in options.parts or PARTS:
                found = PARTS[part](server, browser)
                for what, figure in found.items():
                    numbers = " ".join(f"{figure[key]:8.3f}" for key in ("median", "p95", "worst"))
                    print(f"{what:60} {numbers} {figure['number']:5.0f}", flush=True)
                figures |= found
            browser.close()
        finally:
            server.close()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
