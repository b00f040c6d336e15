"""One writer per experiment: the operating system's lock, and a heartbeat for disks on which locks do not work.

The lock ends with the process that holds it, however that ends. The heartbeat is a file that names the host and the
process, and whose time the writer renews: it works between machines that share a disk without sharing its locks. Its
age is measured by the disk's own clock; because that clock may be set back, and a folder may be copied with its times,
a process that reads a recent heartbeat also watches whether it is renewed.
"""

import contextlib
import errno
import json
import math
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initbench.durations import duration
from initbench.errors import UserError, printable
from initbench.results import store
from initbench.system import files

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, HEARTBEAT = ".lock", ".writer.json"

# The writer renews its heartbeat at this interval; one that was not renewed for this long counts as dead.
RENEW_SECONDS, STALE_SECONDS = 10.0, 60.0

# How often a waiting process checks whether the heartbeat was renewed.
LOOK_SECONDS = 1.0

# How long a writer without a lock waits for a heartbeat that another one wrote at the same moment.
BOTH_SECONDS = 1.0

# A heartbeat holds a host name, a time and two short values.
MAX_HEARTBEAT_BYTES = 10_000


@dataclass(frozen=True)
class Heartbeat:
    """The process that writes in a folder."""

    host: str
    process: int
    since: str
    mark: str  # random: unique to a writer

    def __str__(self) -> str:
        return printable(f"process {self.process} on host {self.host}, since {self.since}", 200)


class Writer:
    """The one writer of a folder, until it is closed; `notes` has a line about a dead writer that it replaced."""

    def __init__(self, folder: Path, heartbeat: Heartbeat, notes: list[str]) -> None:
        self.notes = notes
        self._folder, self._heartbeat = folder, heartbeat
        self._end, self._replaced = threading.Event(), False

    def check(self) -> None:
        """Raise UserError if another writer has taken the folder over, because this process was stopped too long."""
        self._look()
        if self._replaced:
            other = _read(self._folder) or "which has ended since, or its heartbeat was removed"
            raise UserError(f"{self._folder}: another process has taken this folder over ({other}); this one stops")

    def _look(self) -> None:
        """Notice that the heartbeat is another writer's, or gone."""
        heartbeat = _read(self._folder)
        if heartbeat.mark != self._heartbeat.mark if heartbeat else _is_gone(self._folder / HEARTBEAT):
            self._replaced = True

    def renew_until_closed(self) -> None:
        """Renew the heartbeat at intervals."""
        while not self._end.wait(RENEW_SECONDS):
            self.renew()

    def renew(self) -> None:
        """Renew the heartbeat, or notice that another writer has taken over."""
        self._look()
        with contextlib.suppress(OSError):  # a full disk is reported when results are written
            if not self._replaced:
                try:
                    os.utime(self._folder / HEARTBEAT)
                except PermissionError:  # some shared disks give the file to another user
                    _write(self._folder, self._heartbeat)

    def close(self) -> None:
        """Remove the heartbeat."""
        self._end.set()
        heartbeat = _read(self._folder)
        if heartbeat and heartbeat.mark == self._heartbeat.mark:
            with contextlib.suppress(OSError):
                (self._folder / HEARTBEAT).unlink()


def to_stderr(line: str) -> None:
    """Print a line to standard error at once, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def exclusive(folder: Path, *, removing: bool = False, on_wait: Callable[[str], None] = to_stderr) -> Iterator[Writer]:
    """Become the one writer of an existing folder; UserError, naming the other writer, if there is one.

    A heartbeat that may be of a killed process is watched until it is stale; `on_wait` receives a line about the wait.
    With `removing`, the writer only removes files, and needs no heartbeat where the disk is full.
    """
    lock, locked = _locked(folder, removing)
    try:
        mark = secrets.token_hex(8)
        heartbeat = Heartbeat(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %Z"), mark)
        notes = _outlive_another(folder, locked, on_wait)
        try:
            _write(folder, heartbeat)
        except OSError as error:
            if not (removing and error.errno in files.FULL):
                raise store.unwritable(folder, error) from None
            with contextlib.suppress(OSError):  # the heartbeat of a dead writer
                (folder / HEARTBEAT).unlink()
        if not locked:  # of two writers that started at the same moment, the one that wrote last continues
            time.sleep(BOTH_SECONDS)
            other = _read(folder)
            if other and other.mark != mark:
                raise _occupied(folder, str(other))
        writer = Writer(folder, heartbeat, notes)
        threading.Thread(target=writer.renew_until_closed, daemon=True).start()
        try:
            yield writer
        finally:
            writer.close()
    finally:
        if lock:
            lock.release()


def _locked(folder: Path, removing: bool) -> "tuple[BaseFileLock | None, bool]":
    """Return the operating system's lock of a folder, and whether it is held: some disks have no locks."""
    from filelock import FileLock, Timeout

    # Never the library's fallback: that is a file, which outlives its process.
    lock = FileLock(store.own_folder(folder, LOCK), timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        other = _read(folder)
        raise _occupied(folder, str(other) if other else "a process that has just begun") from None
    except NotImplementedError:
        return None, False
    except OSError as error:
        no_locks = error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
        if not no_locks and not (removing and error.errno in files.FULL):  # on a full disk no other process holds one
            raise store.unwritable(folder, error) from None
        return None, False
    return lock, True


def _outlive_another(folder: Path, locked: bool, on_wait: Callable[[str], None]) -> list[str]:
    """Wait until the heartbeat of another writer is stale; UserError if it is renewed meanwhile.

    Returns a line about a writer that counts as dead, if there was one.
    """
    other = _read(folder)
    if not other or (other.host == socket.gethostname() and (locked or not _is_alive(other.process))):
        return []  # the lock ended with its process
    age = _age(folder)
    if age < STALE_SECONDS:
        remaining = STALE_SECONDS - max(age, 0.0)
        when = f"{duration(round(age))} old" if age >= 0 else "dated in the future"
        on_wait(
            printable(
                f"{folder}: another initbench may be writing here ({other}; its heartbeat is {when}). "
                f"Waiting up to {duration(math.ceil(remaining))} to see whether it still runs; Ctrl-C stops waiting"
            )
        )
        if not _stays_unchanged(folder, remaining):
            return []
        age = STALE_SECONDS
    elif age == math.inf:
        return []
    silence = duration(round(age))
    return [f"{folder}: the previous writer ({other}) has not renewed its heartbeat for {silence}; going on without"]


def _stays_unchanged(folder: Path, seconds: float) -> bool:
    """Wait `seconds`; return True if the heartbeat is unrenewed, False if it disappeared; UserError if renewed."""
    first, end = _pulse(folder), time.monotonic() + seconds
    while first:
        now = _pulse(folder)
        if now != first and (other := _read(folder)):
            raise _occupied(folder, f"{other}; its heartbeat was renewed just now")
        if not now:
            return False
        if (remaining := end - time.monotonic()) <= 0:
            return True
        time.sleep(min(remaining, LOOK_SECONDS))
    return False


def _pulse(folder: Path) -> tuple[str, int] | None:
    """Return what a renewal changes: the heartbeat's writer and time; None if there is no heartbeat."""
    other = _read(folder)  # first: a shared disk updates the time of a file when it is opened
    try:
        return other.mark if other else "", (folder / HEARTBEAT).stat().st_mtime_ns
    except OSError:
        return None


def _write(folder: Path, heartbeat: Heartbeat) -> None:
    files.write_file(folder / HEARTBEAT, json.dumps(asdict(heartbeat)).encode())


def _occupied(folder: Path, writer: str) -> UserError:
    return UserError(f"{folder}: another initbench is writing here ({writer}); wait until it has ended, or stop it")


def _age(folder: Path) -> float:
    """Return the age of the heartbeat in seconds of the disk's clock; infinite if there is none.

    It is negative for a heartbeat dated in the future, and 0 if the disk's clock cannot be read.
    """
    clock = folder / LOCK
    try:
        clock.touch()  # now, by the clock of the disk's host
        os.utime(clock)
        now = clock.stat().st_mtime
    except OSError:
        now = None
    try:
        then = (folder / HEARTBEAT).stat().st_mtime
    except FileNotFoundError:
        return math.inf
    except OSError:
        return 0.0
    return 0.0 if now is None else now - then


def _read(folder: Path) -> Heartbeat | None:
    """Return the heartbeat in a folder; None if there is none, or its file is invalid."""
    try:
        heartbeat = Heartbeat(**files.read_json(folder / HEARTBEAT, MAX_HEARTBEAT_BYTES))
    except (OSError, ValueError, TypeError):
        return None
    strings = all(isinstance(text, str) for text in (heartbeat.host, heartbeat.since, heartbeat.mark))
    return heartbeat if strings and type(heartbeat.process) is int and 0 < heartbeat.process < 2**31 else None


def _is_gone(path: Path) -> bool:
    """Return whether a file does not exist; False if the disk does not answer."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _is_alive(process: int) -> bool:
    """Return whether a process of this host exists; True where that cannot be checked safely."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
