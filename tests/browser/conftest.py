"""One server and one browser for each file of tests; each test has a page, a kernel and a folder of its own.

Not for the whole run: other tests count the processes of this one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import chromium, look
from browser.helpers_lab import LONG, App, Browser, Page, Server, cells, write
from playwright.sync_api import expect, sync_playwright

APPS: tuple[App, ...] = ("lab", "notebook")

Open = Callable[..., Page]

# What Playwright takes for never is five seconds, in which a busy machine does not start a kernel.
expect.set_options(timeout=LONG * 1000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("jupyter"))
    try:
        server.wait()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium.find()
    if executable is None:
        # Where a change is judged, a test that was not run must not look like one that passed.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(chromium.ADVICE)
    with sync_playwright() as playwright:
        browser = Browser(playwright, executable)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def opened(browser: Browser) -> look.Open:
    """Open the panel alone, with a simulated kernel."""
    return look.harness(browser.chromium)


@pytest.fixture
def page(opened: look.Open) -> Iterator[Any]:
    """The panel alone, the scene with five pools, at 900 pixels."""
    shown = opened("five")
    yield shown
    shown.close()


@pytest.fixture(params=APPS)
def app(request: pytest.FixtureRequest) -> App:
    return request.param


@pytest.fixture
def open_page(server: Server, browser: Browser) -> Iterator[Open]:
    """Open notebooks by their path on the server; all are closed at the end, and what they asked for is checked."""
    with contextlib.ExitStack() as pages:
        yield lambda name, app="lab", **more: pages.enter_context(browser.open(server, name, app, **more))


@pytest.fixture
def open_cells(open_page: Open, server: Server) -> Open:
    """Open a notebook of code cells with these sources."""
    return lambda *sources, **more: open_page(write(server, cells(*sources)), **more)
