"""One writer in a run's folder: the operating system's lock, and a heartbeat for disks on which locks do not hold.

The lock ends with the process that holds it, however that ends. The heartbeat is a file that names the host and the
process, and whose time is renewed: it is what is left between machines that share a disk without sharing its locks.
Its age is by the disk's own clock; but that may be set back, and a folder may be copied with its times, so that whoever
finds a heartbeat that is not old watches whether it is renewed.
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

from initbench.errors import UserError, printable
from initbench.results import store
from initbench.system import files

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, HEARTBEAT = ".lock", ".writer.json"

# The heartbeat is renewed so often; a writer that did not renew it for so long is taken to be dead.
RENEW_SECONDS, STALE_SECONDS = 10.0, 60.0

# Whoever waits until it is stale looks so often whether it was renewed.
LOOK_SECONDS = 1.0

# Where two may have come at the same moment, the later one is there after so long.
BOTH_SECONDS = 1.0

# Names of a host and of a time are short.
MAX_HEARTBEAT_BYTES = 10_000


@dataclass(frozen=True)
class Heartbeat:
    """Who writes in a folder."""

    host: str
    process: int
    since: str
    mark: str  # random: two writers never have the same

    def __str__(self) -> str:
        return printable(f"process {self.process} on host {self.host}, since {self.since}", 200)


class Writer:
    """The one writer of a folder, as long as it is open; `notes` says whose place it took."""

    def __init__(self, folder: Path, heartbeat: Heartbeat) -> None:
        self.notes: list[str] = []
        self._folder, self._heartbeat, self._end, self._lost = folder, heartbeat, threading.Event(), False

    def check(self) -> None:
        """UserError if another writer has taken the folder over: this process stood still too long."""
        self._look()
        if self._lost:
            now = _read(self._folder) or "which has ended since, or its heartbeat was removed"
            raise UserError(f"{self._folder}: another run has taken this folder over ({now}); this one stops")

    def _look(self) -> None:
        """Notice that the heartbeat is another's, or gone."""
        found = _read(self._folder)
        if found.mark != self._heartbeat.mark if found else _gone(self._folder / HEARTBEAT):
            self._lost = True

    def renew_until_the_end(self) -> None:
        """Renew the heartbeat again and again."""
        while not self._end.wait(RENEW_SECONDS):
            self.renew()

    def renew(self) -> None:
        """Renew the heartbeat, or notice that another writer has taken over."""
        self._look()
        with contextlib.suppress(OSError):  # a disk that is full for a while is told of by whoever writes results
            if not self._lost:
                try:
                    os.utime(self._folder / HEARTBEAT)
                except PermissionError:  # some shared disks give the file to another user
                    _write(self._folder, self._heartbeat)

    def close(self) -> None:
        """Remove the heartbeat."""
        self._end.set()
        found = _read(self._folder)
        if found and found.mark == self._heartbeat.mark:
            with contextlib.suppress(OSError):
                (self._folder / HEARTBEAT).unlink()


def to_stderr(line: str) -> None:
    """Show a line at once, while somebody waits; where there is nobody to show it to, nothing is lost."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def alone(folder: Path, *, removing: bool = False, tell: Callable[[str], None] = to_stderr) -> Iterator[Writer]:
    """Be the one writer of a folder, which exists; UserError, naming the other, if there is one already.

    A heartbeat that may be that of a process that was killed is watched until it is stale; `tell` gets a line about
    the wait. Whoever only removes (`removing`) may do so on a full disk, without a heartbeat.
    """
    lock, holds = _locked(folder, removing)
    try:
        mark = secrets.token_hex(8)
        heartbeat = Heartbeat(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %Z"), mark)
        notes = _outlive_another(folder, holds, tell)
        try:
            _write(folder, heartbeat)
        except OSError as error:
            if not (removing and error.errno in files.FULL):
                raise store.unwritable(folder, error) from None
            with contextlib.suppress(OSError):  # that of a writer that is dead
                (folder / HEARTBEAT).unlink()
        if not holds:  # two that came at the same moment have both written: the later one stays
            time.sleep(BOTH_SECONDS)
            found = _read(folder)
            if found and found.mark != mark:
                raise _taken(folder, str(found))
        writer = Writer(folder, heartbeat)
        writer.notes += notes
        threading.Thread(target=writer.renew_until_the_end, daemon=True).start()
        try:
            yield writer
        finally:
            writer.close()
    finally:
        if lock:
            lock.release()


def _locked(folder: Path, removing: bool) -> "tuple[BaseFileLock | None, bool]":
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
        no_locks = error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
        if not no_locks and not (removing and error.errno in files.FULL):  # where no lock can be made, nobody holds it
            raise store.unwritable(folder, error) from None
        return None, False
    return lock, True


def _outlive_another(folder: Path, holds: bool, tell: Callable[[str], None]) -> list[str]:
    """Wait until a heartbeat of another writer is stale; UserError if it is renewed meanwhile.

    A line about the writer that is taken to be dead, if there was one.
    """
    other = _read(folder)
    if not other or (other.host == socket.gethostname() and (holds or not _lives(other.process))):
        return []  # the lock ended with its process
    age = _age(folder)
    if age < STALE_SECONDS:
        left = STALE_SECONDS - max(age, 0.0)
        when = f"{age:.0f} s old" if age >= 0 else "dated in the future"
        tell(
            printable(
                f"{folder}: another initbench may be writing here ({other}; its heartbeat is {when}). "
                f"Waiting up to {math.ceil(left)} s to see whether it still runs; Ctrl-C ends this"
            )
        )
        if not _unchanged(folder, left):
            return []
        age = STALE_SECONDS
    elif age == math.inf:
        return []
    return [
        f"{folder}: the run that wrote here ({other}) has not renewed its heartbeat for {age:.0f} s; going on without"
    ]


def _unchanged(folder: Path, seconds: float) -> bool:
    """Whether a heartbeat is there all this time, and is not renewed; UserError if it is."""
    first, end = _pulse(folder), time.monotonic() + seconds
    while first:
        now = _pulse(folder)
        if now != first and (other := _read(folder)):
            raise _taken(folder, f"{other}; its heartbeat was renewed just now")
        if not now:
            return False
        if (left := end - time.monotonic()) <= 0:
            return True
        time.sleep(min(left, LOOK_SECONDS))
    return False


def _pulse(folder: Path) -> tuple[str, int] | None:
    """What changes when a heartbeat is renewed: whose it is, and its time; None where there is none."""
    other = _read(folder)  # first: a shared disk tells the time of a file anew when it is opened
    try:
        return other.mark if other else "", (folder / HEARTBEAT).stat().st_mtime_ns
    except OSError:
        return None


def _write(folder: Path, heartbeat: Heartbeat) -> None:
    files.write_file(folder / HEARTBEAT, json.dumps(asdict(heartbeat)).encode())


def _taken(folder: Path, whom: str) -> UserError:
    return UserError(f"{folder}: another initbench is writing here ({whom}); wait until it has ended, or stop it")


def _age(folder: Path) -> float:
    """How old the heartbeat is, in seconds of the disk's clock; one that is gone is as old as can be.

    Less than 0 where it is dated in the future, and 0 where the disk's clock cannot be read.
    """
    beside = folder / LOCK
    try:
        beside.touch()  # now, as the disk's host has it
        os.utime(beside)
        now = beside.stat().st_mtime
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
    try:
        heartbeat = Heartbeat(**files.read_json(folder / HEARTBEAT, MAX_HEARTBEAT_BYTES))
    except (OSError, ValueError, TypeError):
        return None
    texts = all(isinstance(text, str) for text in (heartbeat.host, heartbeat.since, heartbeat.mark))
    return heartbeat if texts and type(heartbeat.process) is int and 0 < heartbeat.process < 2**31 else None


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
