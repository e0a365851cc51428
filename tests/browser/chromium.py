"""Finds the Chromium that the tests drive; `make browsers` runs this file, so it needs the standard library only."""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
APPS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

ADVICE = (
    "No Chromium was found, so what stands under the cells cannot be tested in a real browser.\n"
    "Install Chromium or Google Chrome (Debian: sudo apt-get install chromium), or say where one is:\n"
    "  make test CHROMIUM=/path/to/chromium"
)


def find() -> str | None:
    """Return the path of a Chromium: that of the variable CHROMIUM, else the first that is installed."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES + APPS)), None)


if __name__ == "__main__":
    found = find()
    print(found or ADVICE, file=sys.stdout if found else sys.stderr)
    sys.exit(found is None)
