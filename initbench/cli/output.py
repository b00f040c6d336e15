"""Write to standard output and error without failing where they are closed, full, or without a reader."""

import errno
import io
import os
import select
import sys
from typing import Any

# Seconds that a line waits for a full pipe that does not block, before it is dropped.
MAX_WAIT = 1.0


class CannotPrint(Exception):  # noqa: N818
    """Standard output cannot be written, and is the purpose of the command."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        self.reader_left = isinstance(error, BrokenPipeError)


class _Stream(io.RawIOBase):
    """The bytes of a standard stream. If `required`, the first failure raises `CannotPrint`; later ones, or all if not,
    drop the data."""

    def __init__(self, raw: Any, descriptor: int, required: bool) -> None:
        self._raw, self._descriptor, self.required, self._waits = raw, descriptor, required, True
        self.name = {1: "<stdout>", 2: "<stderr>"}.get(descriptor, str(descriptor))

    def write(self, data: Any) -> int:
        """Write all of the data, or drop it; returns its length in either case."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
            self._waits = True
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self._waits = False
            if self.required:
                self.required = False  # raised once; the interpreter's own last flush must not fail again
                raise CannotPrint(error) from None
        return length

    def _write_some(self, data: memoryview) -> int:
        if self._raw is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        written: int | None = self._raw.write(data)
        if written is None:  # the pipe does not block, and is full
            limit = None if self.required else MAX_WAIT * self._waits
            if not select.select([], [self._descriptor], [], limit)[1]:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return written or 0

    def writable(self) -> bool:
        """Return True: data that cannot be written is dropped."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._raw is not None and bool(self._raw.isatty())

    def fileno(self) -> int:
        """Return the number of the descriptor."""
        return self._descriptor


def protect() -> None:
    """Replace standard output and error by streams that may fail; called once, when the program starts.

    A closed descriptor is opened on the null device, so that no file that is opened later gets its number, and with it
    what is printed. Streams that are not the interpreter's own (a notebook's, a test's) stay.
    """
    closed = [_open_closed(descriptor) for descriptor in (0, 1, 2)]
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream: Any = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
            continue
        raw = None
        if stream is not None and not closed[descriptor]:
            raw = getattr(stream.buffer, "raw", stream.buffer)  # PYTHONUNBUFFERED leaves the buffer out
        safe = io.TextIOWrapper(
            _Stream(raw, descriptor, required=name == "stdout"),
            encoding=getattr(stream, "encoding", "utf-8"),
            errors="replace",  # an encoding without ± prints a question mark
            line_buffering=True,
        )
        setattr(sys, name, safe)


def allow_loss() -> None:
    """Let lines that cannot be printed on standard output be dropped from now on."""
    stream = getattr(sys.stdout, "buffer", None)
    if isinstance(stream, _Stream):
        stream.required = False


def _open_closed(descriptor: int) -> bool:
    """Open a standard descriptor on the null device if it is closed; returns whether it was."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)  # child processes would otherwise find it closed
        return True
    return False
