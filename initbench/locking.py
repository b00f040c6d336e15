"""One writer in a run's folder: the operating system's lock, and a sign of life for disks on which locks do not hold.

The lock ends with the process that holds it, however that ends. The sign of life is a file that names the host and the
process, and whose time is renewed: it is what is left between machines that share a disk without sharing its locks.
Its age is reckoned by the disk's own clock.
"""

import contextlib
import errno
import json
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initbench import store
from initbench.errors import UserError, printable

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, SIGN = ".lock", ".writer.json"

# The sign of life is renewed so often; a writer of another host that gave none for so long is taken to be dead.
RENEW_SECONDS, STALE_SECONDS = 10.0, 60.0


@dataclass(frozen=True)
class Sign:
    """Who writes in a folder."""

    host: str
    process: int
    since: str
    mark: str  # random: two writers never have the same

    def __str__(self) -> str:
        return printable(f"process {self.process} on host {self.host}, since {self.since}", 200)


class Writer:
    """The one writer of a folder, as long as it is open; `notes` says whose place it took."""

    def __init__(self, folder: Path, sign: Sign) -> None:
        self.notes: list[str] = []
        self._folder, self._sign, self._end, self._lost = folder, sign, threading.Event(), False

    def check(self) -> None:
        """UserError if another writer has taken the folder over: this process stood still too long."""
        self._look()
        if self._lost:
            now = _read(self._folder) or "which has ended since, or its sign of life was removed"
            raise UserError(f"{self._folder}: another run has taken this folder over ({now}); this one stops")

    def _look(self) -> None:
        """Notice that the sign of life is another's, or gone."""
        found = _read(self._folder)
        if found.mark != self._sign.mark if found else _gone(self._folder / SIGN):
            self._lost = True

    def renew_until_the_end(self) -> None:
        """Give signs of life."""
        while not self._end.wait(RENEW_SECONDS):
            self.renew()

    def renew(self) -> None:
        """Give one sign of life, or notice that another writer has."""
        self._look()
        with contextlib.suppress(OSError):  # a disk that is full for a while is told of by whoever writes results
            if not self._lost:
                os.utime(self._folder / SIGN)

    def close(self) -> None:
        """Take the sign of life away."""
        self._end.set()
        found = _read(self._folder)
        if found and found.mark == self._sign.mark:
            with contextlib.suppress(OSError):
                (self._folder / SIGN).unlink()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Writer]:
    """Be the one writer of a folder, which exists; UserError, naming the other, if there is one already."""
    lock, holds = _locked(folder)
    try:
        mark = secrets.token_hex(8)
        sign = Sign(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %Z"), mark)
        try:
            notes = _refuse_another(folder, holds)
            store.write_file(folder / SIGN, json.dumps(asdict(sign)).encode())
        except OSError as error:
            raise store.unwritable(folder, error) from None
        if not holds:  # two that came at the same moment have both written: the later one stays
            time.sleep(1.0)
            found = _read(folder)
            if found and found.mark != mark:
                raise _taken(folder, str(found))
        writer = Writer(folder, sign)
        writer.notes += notes
        threading.Thread(target=writer.renew_until_the_end, daemon=True).start()
        try:
            yield writer
        finally:
            writer.close()
    finally:
        if lock:
            lock.release()


def _locked(folder: Path) -> "tuple[BaseFileLock | None, bool]":
    """The operating system's lock of a folder; and whether it is held: some disks have none."""
    from filelock import FileLock, Timeout

    # Never its own stand-in for a lock: that is a file, which outlives its process.
    lock = FileLock(store.own_folder(folder, LOCK), timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        found = _read(folder)
        raise _taken(folder, str(found) if found else "a process that has just begun") from None
    except NotImplementedError:
        return None, False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise store.unwritable(folder, error) from None
        return None, False
    return lock, True


def _refuse_another(folder: Path, holds: bool) -> list[str]:
    """UserError if the sign of life is that of a living writer; a line about one that is taken to be dead."""
    found = _read(folder)
    if not found:
        return []
    if found.host == socket.gethostname() and (holds or not _lives(found.process)):
        return []  # the lock ended with its process
    age = _age(folder)
    if age < STALE_SECONDS:
        told = f"{found}; its last sign of life is {age:.0f} s old. If it has been killed, run again in a minute"
        raise _taken(folder, told)
    return [f"{folder}: the run that wrote here ({found}) has given no sign of life for {age:.0f} s; going on without"]


def _taken(folder: Path, whom: str) -> UserError:
    return UserError(f"{folder}: another initbench is writing here ({whom}); wait until it has ended, or stop it")


def _age(folder: Path) -> float:
    """How old the sign of life is, in seconds of the disk's clock; one that is gone is as old as can be."""
    beside = folder / LOCK
    beside.touch()
    os.utime(beside)  # now, as the disk's host has it
    try:
        return beside.stat().st_mtime - (folder / SIGN).stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _read(folder: Path) -> Sign | None:
    try:
        return Sign(**json.loads((folder / SIGN).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _gone(path: Path) -> bool:
    """Whether there is no such file; not where the disk does not say."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _lives(process: int) -> bool:
    """Whether a process of this host is there; where that cannot be asked without harm, yes."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
