"""Standard output and standard error that a command outlives: a closed one, a full disk, a reader that has gone."""

import errno
import io
import os
import select
import sys
from typing import Any

from typer.core import TyperCommand

# A pipe that does not block may be full for a moment: so long is waited for it, in seconds, where output may be lost.
MAX_WAIT = 1.0


class CannotPrint(Exception):  # noqa: N818
    """Standard output cannot be written, and is what the command was called for."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        self.reader_left = isinstance(error, BrokenPipeError)


class WorkingCommand(TyperCommand):
    """A command that leaves files, or answers with its exit status: what it cannot print is dropped, and it works on.

    Any other command is called for what it prints, and stops with `CannotPrint`.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        stream = getattr(sys.stdout, "buffer", None)
        if isinstance(stream, _Stream):
            stream.required = False
        return super().invoke(ctx)


class _Stream(io.RawIOBase):
    """The bytes of a standard stream. Where it is `required`, the first failure raises `CannotPrint`; what cannot be
    written is dropped otherwise."""

    def __init__(self, raw: Any, descriptor: int, required: bool) -> None:
        self._raw, self._descriptor, self.required, self._patient = raw, descriptor, required, True
        self.name = {1: "<stdout>", 2: "<stderr>"}.get(descriptor, str(descriptor))

    def write(self, data: Any) -> int:
        """Write all of the data; returns its length, whatever became of it."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
            self._patient = True
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self._patient = False
            if self.required:
                self.required = False  # told once; the interpreter's own last flush must not fail again
                raise CannotPrint(error) from None
        return length

    def _write_some(self, data: memoryview) -> int:
        if self._raw is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        written: int | None = self._raw.write(data)
        if written is None:  # it does not block, and is full
            limit = None if self.required else MAX_WAIT * self._patient
            if not select.select([], [self._descriptor], [], limit)[1]:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return written or 0

    def writable(self) -> bool:
        """Whether it can be written: what cannot is dropped."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._raw is not None and bool(self._raw.isatty())

    def fileno(self) -> int:
        """The descriptor's number."""
        return self._descriptor


def protect() -> None:
    """Make standard output and error streams that a command outlives; for the entrance of a program.

    A descriptor that is closed is opened on the null device, so that no file that is opened later gets its number, and
    with it what is printed. Streams that are not the interpreter's own (a notebook's, a test's) are left as they are.
    """
    closed = [_opened(descriptor) for descriptor in (0, 1, 2)]
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
            raw = getattr(stream.buffer, "raw", stream.buffer)  # under PYTHONUNBUFFERED there is no buffer between
        safe = io.TextIOWrapper(
            _Stream(raw, descriptor, required=name == "stdout"),
            encoding=getattr(stream, "encoding", "utf-8"),
            errors="replace",  # a terminal without ± shows a question mark
            line_buffering=True,
        )
        setattr(sys, name, safe)


def _opened(descriptor: int) -> bool:
    """Open a standard descriptor on the null device if it is closed; whether it was."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)  # a child that it is passed on to would find it closed otherwise
        return True
    return False
