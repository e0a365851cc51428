"""Output without a process."""

import os

from stepup_nb.director.output import CHUNK, LogFolder, Output


class Writer:
    """A job without a process: an `Output` and the writing ends of its pipes."""

    def __init__(self, folder: LogFolder, job: int = 1) -> None:
        self.buffer = bytearray(CHUNK)
        out, self.stdout = os.pipe2(os.O_CLOEXEC)
        err, self.stderr = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        self.output = Output(job, folder, out, err)

    def write(self, which: int, text: bytes) -> None:
        """Write to stdout (0) or stderr (1), and let it be taken in."""
        fd = (self.stdout, self.stderr)[which]
        while text:
            text = text[os.write(fd, text[:65536]) :]
            self.output.read(which, self.buffer)

    def end(self) -> None:
        """End the job."""
        os.close(self.stdout)
        os.close(self.stderr)
        self.output.drain(self.buffer)
        self.output.close()
