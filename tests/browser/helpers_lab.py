"""JupyterLab and Notebook 7 as a person has them: a server, a browser, and pages with a notebook.

Knows nothing of stepup_nb. Nothing here waits for a time; `Page.until` waits for a condition. The application is asked
through its own `window.jupyterapp`, what a person sees is read from the page.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import nbformat
import psutil

App = Literal["lab", "notebook"]
Theme = Literal["light", "dark"]

LONG = 60.0
"""Seconds after which a condition counts as never coming true."""

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

FLAGS = (
    # Chromium's own errands: none of them may look like a request of the page, or wait for an answer.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--disable-gpu",
    # What the tests find out must not depend on whether there is a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

CURRENT = "const it = window.jupyterapp.shell.currentWidget;"
KERNEL = f"{CURRENT} const kernel = it?.context?.sessionContext?.session?.kernel;"


class Server:
    """A Jupyter server that serves JupyterLab and Notebook 7, with nothing of the user's settings.

    Parameters
    ----------
    folder
        Where it keeps everything; the notebooks are in its folder ``notebooks``.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        self.log = folder / "server.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        python = Path(sys.executable)
        own = {
            name: os.fspath(folder / name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR",
                "JUPYTER_DATA_DIR",
                "JUPYTER_RUNTIME_DIR",
                "JUPYTERLAB_SETTINGS_DIR",
                "JUPYTERLAB_WORKSPACES_DIR",
                "IPYTHONDIR",
            )
        }
        ours = ("JPY_", "JUPYTER", "STEPUP_", "PYTEST_", "CPU_LIMIT")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = os.pathsep.join((os.fspath(python.parent), kept.get("PATH", os.defpath)))
        options = (
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            "--IdentityProvider.token=",
            "--ServerApp.disable_check_xsrf=True",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        )
        # Or JupyterLab would ask whether it may fetch news.
        asked = Path(own["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab/apputils-extension")
        asked.mkdir(parents=True)
        asked.joinpath("notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                [os.fspath(python), "-m", "jupyterlab", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**kept, **own, "PATH": path},
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + LONG
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/api/status", timeout=1):
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def close(self) -> None:
        """End it and whatever it started; it may shut its kernels down first."""
        began = _family(self.process)
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.terminate()
        psutil.wait_procs([self.process], timeout=10)
        for process in began:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(began, timeout=10)


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def cells(*sources: str) -> list[Any]:
    """Return code cells; their ids are "c0", "c1", and so on."""
    return [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]


class Browser:
    """A Chromium; every page it opens is a person of its own.

    Parameters
    ----------
    playwright
        What `playwright.sync_api.sync_playwright` yields.
    executable
        The path of Chromium.
    """

    def __init__(self, playwright: Any, executable: str) -> None:
        # As root, in a container, Chromium's own sandbox cannot start.
        alone = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
        self.chromium = playwright.chromium.launch(
            executable_path=executable, args=[*FLAGS, *alone], timeout=LONG * 1000
        )

    @contextlib.contextmanager
    def open(
        self,
        server: Server,
        name: str,
        app: App = "lab",
        *,
        theme: Theme = "light",
        width: int = 1280,
        height: int = 900,
        is_guest: bool = False,
    ) -> Iterator[Page]:
        """Open a notebook of the server, wait until its kernel is idle, and at the end shut the kernel down.

        A guest leaves the kernel to whoever opened the notebook first.
        """
        page = Page(self.chromium, server, name, app, width, height)
        try:
            page.go()
            # The server remembers the theme that an earlier page was given.
            if page.theme != theme:
                page.set_theme(theme)
            yield page
            page.assert_alone()
        finally:
            page.close(is_guest=is_guest)

    def close(self) -> None:
        """End it."""
        self.chromium.close()


class Page:
    """A browser window that shows one notebook."""

    def __init__(self, browser: Any, server: Server, name: str, app: App, width: int, height: int) -> None:
        self.server = server
        self.name = name
        self.app = app
        self.file = server.root / name
        self.requests: list[str] = []
        """The addresses of everything that was asked for, sockets too."""
        self.complaints: list[str] = []
        """Errors that no script of the page caught; Notebook 7 has some of its own."""
        self._context = browser.new_context(viewport={"width": width, "height": height})
        self._context.set_default_timeout(LONG * 1000)
        self._context.on("request", lambda request: self.requests.append(request.url))
        self.page = self._context.new_page()
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    # --- the window ----------------------------------------------------------------------------

    def go(self) -> None:
        """Load the page, or load it again; wait until the notebook is there and its kernel idle."""
        place = "lab/tree" if self.app == "lab" else "notebooks"
        # Without `reset` JupyterLab would restore the notebooks of the page before.
        reset = "?reset" if self.app == "lab" else ""
        self.page.goto(f"{self.server.url}/{place}/{quote(self.name)}{reset}", wait_until="domcontentloaded")
        self.until(f"if (!window.jupyterapp) return false; {CURRENT} return !!it?.context?.isReady")
        self.idle()

    def close(self, *, is_guest: bool = False) -> None:
        """Shut the kernel down, as a person does who is done, and close the window."""
        if not is_guest:
            with contextlib.suppress(Exception):
                self.page.evaluate(f"async () => {{ {CURRENT} await it.context.sessionContext.shutdown(); }}")
        self._context.close()

    def assert_alone(self) -> None:
        """Assert that nothing outside this machine was asked for."""
        strangers = [url for url in self.requests if not _is_ours(url)]
        assert not strangers, f"asked for outside this machine: {strangers}"

    def until(self, condition: str, argument: Any = None, patience: float = LONG) -> None:
        """Wait until the body of a JavaScript function returns something true; `argument` is its `arg`."""
        code = f"(arg) => {{ {condition} }}"
        try:
            self.page.wait_for_function(code, arg=argument, timeout=patience * 1000, polling=50)
        except Exception as error:
            raise AssertionError(f"it did not come true: {condition} ({argument})") from error

    def ask(self, body: str, argument: Any = None) -> Any:
        """Return what the body of a JavaScript function returns."""
        return self.page.evaluate(f"(arg) => {{ {body} }}", argument)

    @property
    def theme(self) -> Theme:
        """The theme that the page has; a page that names none is light."""
        return "dark" if self.ask("return document.body.dataset.jpThemeLight === 'false'") else "light"

    def set_theme(self, theme: Theme) -> None:
        self.page.evaluate(
            "async (name) => await window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
            THEMES[theme],
        )
        self.until("return document.body.dataset.jpThemeLight === arg", str(theme == "light").lower())

    @property
    def text(self) -> str:
        """All that stands in the notebook, for messages."""
        return str(self.ask(f"{CURRENT} return it?.content?.node.innerText ?? document.body.innerText"))

    # --- the kernel ----------------------------------------------------------------------------

    def idle(self) -> None:
        """Wait until the kernel is idle."""
        self.until(f"{KERNEL} return kernel?.status === 'idle' && kernel.connectionStatus === 'connected'")

    def interrupt(self) -> None:
        """Press the button."""
        self.page.get_by_role("button", name=re.compile("^Interrupt the kernel")).click()

    def restart(self) -> None:
        """Restart the kernel; no cell is run."""
        self.page.evaluate(
            f"async () => {{ {CURRENT} await it.context.sessionContext.session.kernel.restart(); }}"
        )
        self.idle()

    # --- cells ---------------------------------------------------------------------------------

    def start_all(self) -> None:
        """Run all cells; returns at once."""
        self._start("run-all-cells")

    def start(self, cell: str) -> None:
        """Run a cell; returns at once."""
        self.ask(
            f"{CURRENT} it.content.activeCellIndex = it.content.widgets.findIndex((w) => w.model.id === arg);"
            "it.content.deselectAll()",
            cell,
        )
        self._start("run-cell")

    def finish(self, patience: float = LONG) -> bool:
        """Wait until what was started last has ended; return whether no cell raised."""
        self.until("return window.ended !== undefined", patience=patience)
        return bool(self.ask("return window.ended"))

    def run_all(self, patience: float = LONG) -> None:
        """Run all cells; none may raise."""
        self.start_all()
        assert self.finish(patience), self.text

    def run(self, *names: str) -> None:
        """Run cells, one after the other; none may raise."""
        for cell in names:
            self.start(cell)
            assert self.finish(), self.text

    def _start(self, command: str) -> None:
        # The command's promise is kept once the last cell has ended.
        self.ask(
            "window.ended = undefined;"
            "void window.jupyterapp.commands.execute(arg).then((ok) => { window.ended = !!ok; })",
            f"notebook:{command}",
        )

    def cell(self, cell: str) -> Any:
        """Return the locator of a cell."""
        index = self.ask(f"{CURRENT} return it.content.widgets.findIndex((w) => w.model.id === arg)", cell)
        # Cells have no role of their own, in neither application.
        return self.page.locator(f".jp-Cell[data-windowed-list-index='{index}']")

    def shown(self, cell: str) -> str:
        """Return the text that stands under a cell, as it is drawn now."""
        return str(self.ask(f"{OUTPUT} return output?.textContent ?? ''", cell))

    def until_shown(self, cell: str, *words: str) -> None:
        """Wait until all these words stand under a cell."""
        try:
            self.until(
                f"{OUTPUT_OF_FIRST} return arg[1].every((w) => output?.textContent.includes(w))",
                [cell, words],
            )
        except AssertionError as error:
            raise AssertionError(f"{words} never stood under {cell}, but:\n{self.shown(cell)}") from error

    def left_of(self, element: Any) -> float:
        """Return where the first letter of an element begins, in pixels from the left of the window."""
        return float(element.evaluate(LEFT_OF_TEXT))

    def saved_outputs(self) -> dict[str, list[Any]]:
        """Return the outputs in the file, by cell."""
        saved = nbformat.read(self.file, as_version=4)
        return {cell.id: cell.outputs for cell in saved.cells if cell.cell_type == "code"}

    def save(self) -> None:
        """Save the notebook as it is now."""
        # What is live may change it again at once, so that being without changes is nothing to wait for.
        self.ask(
            f"{CURRENT} window.saved = false;"
            "it.context.saveState.connect((_, state) => { window.saved ||= state === 'completed'; })"
        )
        self.page.evaluate("async () => await window.jupyterapp.commands.execute('docmanager:save')")
        self.until("return window.saved")

    def hide_sidebar(self) -> None:
        """Leave all the width to the notebook."""
        self.ask("window.jupyterapp.shell.collapseLeft?.()")

    # --- pictures ------------------------------------------------------------------------------

    def screenshot(self, file: Path) -> None:
        """Write what is seen."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=os.fspath(file))

    def screenshots(self, file: Path) -> list[Path]:
        """Write the whole notebook, a file for each screen of it; "a.png" becomes "a-1.png" and so on."""
        files: list[Path] = []
        # The frame of the active cell is JupyterLab's; the first cell shows it least.
        self.ask(f"{SCROLLED} it.content.activeCellIndex = 0; outer.scrollTop = 0")
        is_more = True
        while is_more:
            # Cells out of sight are laid out once they come into it.
            self.page.evaluate(TWO_FRAMES)
            files.append(file.with_stem(f"{file.stem}-{len(files) + 1}"))
            self.screenshot(files[-1])
            is_more = self.ask(
                f"{SCROLLED} const last = it.content.widgets.at(-1).node.getBoundingClientRect();"
                "const box = outer.getBoundingClientRect();"
                "outer.scrollTop += outer.clientHeight - 40; return last.bottom > box.bottom"
            )
        return files


LEFT_OF_TEXT = """(element) => {
    const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const range = document.createRange();
        range.selectNodeContents(walk.currentNode);
        if (walk.currentNode.data.trim()) return range.getBoundingClientRect().left;
    }
}"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SCROLLED = (
    f"{CURRENT} const outer = it.content.node.querySelector('.jp-WindowedPanel-outer') ?? it.content.node;"
)


def _output(argument: str) -> str:
    return (
        f"{CURRENT} const output = it.content.widgets.find((w) => w.model.id === {argument})"
        "?.node.querySelector('.jp-Cell-outputArea');"
    )


OUTPUT = _output("arg")
OUTPUT_OF_FIRST = _output("arg[0]")


def _is_ours(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


def write(server: Server, notebook_cells: Sequence[Any]) -> str:
    """Write a notebook of these cells into a folder of its own; return its path for `Browser.open`."""
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=server.root))
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=list(notebook_cells), metadata=kernel)
    nbformat.write(notebook, folder / "nb.ipynb")
    return f"{folder.name}/nb.ipynb"


def copy(server: Server, lesson: Path) -> str:
    """Copy a lesson with its folder, from scratch; return its path for `Browser.open`."""
    folder = Path(tempfile.mkdtemp(prefix="lesson-", dir=server.root))
    left_behind = shutil.ignore_patterns(".*", "*.stepup.db*", "build")
    shutil.copytree(lesson.parent, folder, ignore=left_behind, dirs_exist_ok=True)
    return f"{folder.name}/{lesson.name}"
