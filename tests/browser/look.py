"""Writes pictures of the panel with a simulated kernel: `python tests/browser/look.py FOLDER [NAME...]`.

Needs playwright and a Chromium; no server, no JupyterLab.
"""

import mimetypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from browser.chromium import ADVICE, find
from playwright.sync_api import Browser, Page, Route, sync_playwright

ROOT = Path(__file__).parents[2]
ORIGIN = "http://panel.invalid"
"""Never asked over the network: each request is answered from `ROOT`."""

TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Until what was asked for is drawn."""

TO_KERNEL = "harness.model.toKernel({kind: 'act', id: 99, "

Theme = Literal["light", "dark"]
Act = Callable[[Page], object]
Open = Callable[..., Page]
"""Opens the harness with a scene, a width, a theme."""


def tell(page: Page, seconds: float = 0.1) -> None:
    """Let the kernel hear what was sent, work for so long, and tell."""
    page.evaluate("() => new Promise((done) => setTimeout(done, 5))")
    page.evaluate("seconds => harness.pass(seconds)", seconds)
    page.evaluate(TWO_FRAMES)


@contextmanager
def chromium() -> Iterator[Open]:
    """Start a Chromium for as long as pictures are made."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find() or sys.exit(ADVICE))
        yield harness(browser)
        browser.close()


def harness(browser: Browser) -> Open:
    """Return a function that opens the harness with a scene, a width and a theme."""

    def page(
        scene: str, width: int = 900, theme: Theme = "light", query: str = "", height: int = 900
    ) -> Page:
        opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
        opened.on("pageerror", lambda error: print(f"{scene}: {error}", file=sys.stderr))
        opened.route("**/*", _answer)
        opened.goto(f"{ORIGIN}/tests/browser/harness.html?scene={scene}{query}")
        opened.wait_for_function("window.harness && harness.world.heard.length")
        # The first message is answered a moment later, and drawn in the frame after that.
        opened.wait_for_function(
            "harness.world.isBusy || document.querySelector('.snb-count, .snb-compact-part')"
        )
        opened.evaluate(TWO_FRAMES)
        return opened

    return page


def _answer(route: Route) -> None:
    file = ROOT / urlsplit(route.request.url).path.lstrip("/")
    if not route.request.url.startswith(ORIGIN) or not file.is_file():
        route.abort()
        return
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    route.fulfill(body=file.read_bytes(), content_type=kind)


def _js(code: str) -> Act:
    return lambda page: page.evaluate(code)


def _pick(page: Page) -> None:
    page.locator("[data-pick]").first.click()


def _ask(page: Page) -> None:
    page.get_by_role("button", name="Cancel all", exact=True).click()


def _refuse(page: Page) -> None:
    field = page.get_by_role("spinbutton", name="size of pool test")
    field.fill("two")
    field.press("Enter")


def _help(page: Page) -> None:
    page.get_by_role("button", name="Keys").click()


def _open(page: Page) -> None:
    page.locator(".snb-lane-toggle").first.click()


def _go(tab: str) -> Act:
    return lambda page: page.get_by_role("tab", name=tab, exact=True).click()


def _look(page: Page) -> None:
    page.evaluate(TWO_FRAMES)


def _scroll(page: Page) -> None:
    _look(page)
    page.locator(".snb-timeline-body").evaluate("(el) => { el.scrollTop = 60; }")
    page.locator(".snb-timeline-bar").nth(3).hover()


def _show(page: Page) -> None:
    page.get_by_role("tab", name="Steps", exact=True).click()
    page.locator("[data-place='4']").click()
    page.get_by_role("tab", name="Log", exact=True).click()
    tell(page)
    tell(page)


def _grow(page: Page) -> None:
    page.get_by_role("button", name="one slot more in pool test").click()
    page.wait_for_timeout(50)
    page.evaluate("harness.pass(0.5)")


PICTURES: dict[str, tuple[str, int, Theme, str, list[Act]]] = {
    f"{scene}-{width}-{theme}": (scene, width, theme, "", [])
    for scene in ("lesson", "five", "corners", "twenty", "cluster", "farm", "hostile", "stranger")
    for width in (1600, 900, 480, 320)
    for theme in ("light", "dark")
} | {
    **{
        f"cluster-{tab.lower()}-{width}-{theme}": ("cluster", width, theme, "", [_go(tab), act])
        for tab, act in (("Steps", _look), ("Timeline", _scroll), ("Log", _show))
        for width in (1200, 480)
        for theme in ("light", "dark")
    },
    "cluster-gone": ("cluster", 900, "light", "", [_js("harness.world.cluster.threads = null; harness.pass(0.1)")]),
    "nothing": ("nothing", 900, "light", "", []),
    "thousands": ("thousands", 1200, "light", "", []),
    "compact-light": ("five", 900, "light", "&mode=compact", []),
    "compact-dark": ("five", 900, "dark", "&mode=compact", []),
    "compact-320": ("corners", 320, "light", "&mode=compact", []),
    "beside-light": ("five", 1400, "light", "", [_pick]),
    "beside-dark": ("five", 1400, "dark", "", [_pick]),
    "picked": ("five", 900, "light", "", [_pick]),
    "asking": ("five", 900, "light", "", [_ask]),
    "refused": ("lesson", 900, "light", "", [_refuse]),
    "keys": ("lesson", 900, "light", "", [_help]),
    "grown": ("lesson", 900, "light", "", [_grow]),
    "open-320": ("five", 320, "light", "", [_open]),
    "open-480": ("five", 480, "dark", "", [_open]),
    "paused": ("lesson", 900, "light", "", [_js(f"{TO_KERNEL}verb: 'pause'}}); harness.pass(1)")]),
    "waiting": ("lesson", 900, "light", "&silent", []),
    "waiting-long": ("lesson", 900, "light", "&silent", [lambda page: page.wait_for_timeout(1700)]),
    "restarted": ("five", 900, "light", "", [_js("harness.restart()")]),
    "restarted-dark": ("five", 900, "dark", "", [_js("harness.restart()")]),
    "lost": ("five", 900, "light", "", [_js("harness.world.isLost = true; harness.pass(0.1)")]),
    "busy": (
        "lesson", 900, "light", "",
        [
            _js("harness.world.isBusy = true"),
            lambda page: page.get_by_role("button", name="Pause", exact=True).click(),
            lambda page: page.wait_for_timeout(1700),
        ],
    ),
    "notes": (
        "lesson", 900, "light", "",
        [
            _js("harness.world.notes = ['The notebook was copied: its database stays with the first one.']"),
            _js(f"{TO_KERNEL}verb: 'cancel', step: 'sleep_Z'}}); harness.pass(0.1)"),
        ],
    ),
}  # fmt: skip


def main(folder: str, *names: str) -> None:
    """Write the pictures of these names, or all."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with chromium() as page:
        for name, (scene, width, theme, query, acts) in PICTURES.items():
            if names and not any(name.startswith(each) for each in names):
                continue
            opened = page(scene, width, theme, query)
            for act in acts:
                act(opened)
            opened.wait_for_timeout(120)
            opened.screenshot(path=target / f"{name}.png", full_page=True)
            opened.context.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
