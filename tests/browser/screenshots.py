"""Pictures the lessons as they look in JupyterLab when all their cells have run; `make screenshots` runs this file.

`make screenshots ARGS="02 06"` takes those lessons only, `ARGS=panel` the views of the panel. Light and dark, narrow
and wide: somebody should look at them when what stands under a cell has been changed.
"""

import sys
import tempfile
from pathlib import Path

from browser import chromium
from browser.helpers_lab import TWO_FRAMES, Browser, Server, Theme, cells, copy, write
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
THEMES: tuple[Theme, ...] = ("light", "dark")
SIZES = {"narrow": (520, 1300), "wide": (1600, 1200)}


PIPELINE = """from stepup_nb.api import pool, runsh
pool("memory", 2); pool("licence", 1)
talk = "for i in 1 2 3 4 5 6; do echo {0}: row $i; sleep 0.25; done; echo {0} > {0}.txt"
for name in ("north", "south", "east", "west", "centre"):
    runsh(talk.format(name), name=name, out=f"{name}.txt", pool="memory", duration=1.5)
runsh("sleep 2; cat *.txt > all.txt", name="merge", inp=["north.txt", "south.txt"], out="all.txt", pool="licence")
runsh("sleep 1; echo 'no such file: map.shp' >&2; exit 3", name="draw map")
runsh("sleep 0.3; wc -l all.txt", name="report", inp="all.txt", pool="licence", duration=0.3)"""


def take_panel(browser: Browser, server: Server, folder: Path, theme: Theme, width: int) -> None:
    """Write a picture of each view of the panel, while steps run."""
    name = write(server, cells("%load_ext stepup_nb\n%stepup workers 4", PIPELINE, "%stepup panel"))
    with browser.open(server, name, theme=theme, width=width, height=1200) as page:
        page.hide_sidebar()
        page.run("c0", "c2", "c1")
        region = page.cell("c2").get_by_role("region", name="StepUp", exact=True)
        region.get_by_text("draw map").first.wait_for()
        page.until("return arg.querySelector('[data-state=FAILED]')", region.element_handle())
        for tab in ("Pools", "Steps", "Timeline", "Graph", "Log"):
            region.get_by_role("tab", name=tab, exact=True).click()
            if tab == "Steps":
                region.get_by_role("cell", name="west", exact=True).or_(
                    region.get_by_role("row").nth(1)
                ).first.click()
            page.page.evaluate(TWO_FRAMES)
            # A picture is taken of what the kernel has told by then.
            page.page.wait_for_timeout(400)
            file = folder / f"panel-{tab.lower()}-{theme}-{width}.png"
            region.screenshot(path=str(file))
            print(file.relative_to(ROOT), flush=True)


def take(folder: Path, chosen: list[str]) -> None:
    """Write the pictures into the folder: of everything, or of what is chosen by the beginning of its name."""

    def is_meant(name: str) -> bool:
        return not chosen or any(name.startswith(each) for each in chosen)

    executable = chromium.find()
    if executable is None:
        sys.exit(chromium.ADVICE)
    with tempfile.TemporaryDirectory() as aside, sync_playwright() as playwright:
        server = Server(Path(aside))
        try:
            server.wait()
            browser = Browser(playwright, executable)
            folder.mkdir(parents=True, exist_ok=True)
            for theme in THEMES if is_meant("panel") else ():
                for width in (600, 1100):
                    take_panel(browser, server, folder, theme, width)
            for lesson in filter(lambda path: is_meant(path.name), LESSONS):
                for theme in THEMES:
                    for size, (width, height) in SIZES.items():
                        # From scratch, or the second picture would be that of another day.
                        name = copy(server, lesson)
                        with browser.open(server, name, theme=theme, width=width, height=height) as page:
                            page.run_all(patience=180.0)
                            page.hide_sidebar()
                            file = folder / f"{lesson.stem}-{theme}-{size}.png"
                            for screen in page.screenshots(file):
                                print(screen.relative_to(ROOT), flush=True)
            browser.close()
        finally:
            server.close()


if __name__ == "__main__":
    take(ROOT / "build" / "screenshots", sys.argv[1:])
