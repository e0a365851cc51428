"""Pictures the lessons as they look in JupyterLab when all their cells have run; `make screenshots` runs this file.

Light and dark, narrow and wide: somebody should look at them when what stands under a cell has been changed.
"""

import sys
import tempfile
from pathlib import Path

from browser import chromium
from browser.helpers_lab import Browser, Server, Theme, copy
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
THEMES: tuple[Theme, ...] = ("light", "dark")
SIZES = {"narrow": (520, 1300), "wide": (1600, 1200)}


def take(folder: Path) -> None:
    """Write the pictures into the folder."""
    executable = chromium.find()
    if executable is None:
        sys.exit(chromium.ADVICE)
    with tempfile.TemporaryDirectory() as aside, sync_playwright() as playwright:
        server = Server(Path(aside))
        try:
            server.wait()
            browser = Browser(playwright, executable)
            for lesson in LESSONS:
                for theme in THEMES:
                    for size, (width, height) in SIZES.items():
                        # From scratch, or the second picture would be that of another day.
                        name = copy(server, lesson)
                        with browser.open(server, name, theme=theme, width=width, height=height) as page:
                            page.run_all()
                            page.hide_sidebar()
                            file = folder / f"{lesson.stem}-{theme}-{size}.png"
                            for screen in page.screenshots(file):
                                print(screen.relative_to(ROOT), flush=True)
            browser.close()
        finally:
            server.close()


if __name__ == "__main__":
    take(ROOT / "build" / "screenshots")
