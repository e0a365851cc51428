"""Writes a file whole: whoever reads it finds what was there or what is new, and nothing in between."""

from __future__ import annotations

import os
import secrets
import stat


def replace_file(path: str | os.PathLike[str], text: str) -> None:
    """Put a text where a file is, or none: all of it, or nothing.

    A file keeps its mode. A link is replaced, not what it leads to. What is no file, such as ``/dev/stdout`` or a pipe,
    is written to: it is nobody's to replace, and root could.

    Raises
    ------
    OSError
        It cannot be done; what was there is as it was.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFLNK
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return
    folder, name = os.path.split(os.path.abspath(path))
    draft = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(4)}")
    # The system subtracts the umask, which nobody can ask for without changing it for all threads.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            if stat.S_ISREG(mode):
                os.fchmod(handle, stat.S_IMODE(mode))
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
