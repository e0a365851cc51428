"""A converter with a silent race, and a project that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stepup_nb.client.audit import Asked, Audit, Report
from stepup_nb.client.session import Session

CONVERTER = """#!/bin/sh
# convert SOURCE TARGET: in capital letters. Its scratch file has the same name for every page.
cp "$1" convert.tmp
sleep 0.1  # the work
tr a-z A-Z < convert.tmp > "$2"
"""
"""Ends with 0 whatever happens, and writes another page where two of it run at a time."""

CURED = CONVERTER.replace("convert.tmp", '"convert.tmp.$$"')
"""The same with a scratch file of its own for each run."""


def pages(session: Session, folder: Path, converter: str = CONVERTER, number: int = 8) -> None:
    """Declare steps that convert so many pages in pool `test`, and one that puts them together."""
    script = folder / "convert.sh"
    script.write_text(converter)
    script.chmod(0o755)
    session.pool("test", 1)
    for i in range(number):
        (folder / f"page{i}.txt").write_text(f"this is page {i}\n")
        session.declare(
            "runsh",
            f"./convert.sh page{i}.txt page{i}.out",
            inp=["convert.sh", f"page{i}.txt"],
            out=f"page{i}.out",
            pool="test",
        )
    made = [f"page{i}.out" for i in range(number)]
    session.declare("runsh", "cat ${inp} > book.out", inp=made, out="book.out")


def audited(session: Session, pools: Mapping[str, list[int | None]], **more: object) -> Report:
    """Audit steps, wait for the end, and return what was found."""
    audit = Audit(session, Asked(pools=pools, **more))  # type: ignore[arg-type]
    try:
        audit.start()
        return audit.done.result()
    finally:
        audit.stop()
