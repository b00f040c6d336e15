"""Record what a program does while it reads an untrusted file, and that it does not hang."""

import os
import re
import signal
from contextlib import contextmanager

# A case of the usual size takes milliseconds; one that takes this many seconds of the CPU hangs, and so does one that
# waits, which takes none, for as many times longer.
SECONDS, WAITS = 20, 15


class Hang(BaseException):
    """A case took too long."""


@contextmanager
def limited(seconds=SECONDS):
    """No case may hang, however many other programs the machine runs."""

    def ring(*_):
        raise Hang

    if not hasattr(signal, "setitimer"):
        yield
        return
    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, WAITS * seconds),
    }
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, limit in timers.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


# Python's audit events: none of these may occur while an untrusted file is read.
CHANGES = re.compile(r"os\.(mkdir|rename|remove|rmdir|link|symlink|truncate|ch|utime|setxattr)|shutil\.|tempfile\.")
RUNS = re.compile(r"subprocess\.|os\.(system|exec|fork|posix_spawn|spawn|startfile)|socket\.|pickle\.|ctypes\.")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watching = []


def heard(event, arguments):
    if not _watching:
        return
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if opened or CHANGES.match(event) or RUNS.match(event):
        _watching[-1].append((event, *map(repr, arguments[:2])))
    elif event in ("compile", "exec"):
        code = arguments[0]
        name = getattr(code, "co_filename", None) or str(arguments[-1])
        if not os.path.exists(name) and not name.startswith("<frozen"):
            _watching[-1].append((event, repr(code), name))


@contextmanager
def watched():
    """What is written, run, unpickled or sent meanwhile; a list that fills."""
    events = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.remove(events)
