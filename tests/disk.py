"""A disk that fails, and a process that is killed, at any operation on files."""

import os
import signal


class Disk:
    """Notes each operation on files below a folder, and lets the `at`-th strike: it is killed, or gets an error.

    A write is half done before it strikes. An error comes `once`, or at every operation from then on.
    """

    def __init__(self, root, at=None, error=None, once=True):
        self.root, self.at, self.error, self.once = str(root), at, error, once
        self.done, self.paths = [], {}

    def strikes(self):
        return self.at is not None and (len(self.done) > self.at if not self.once else len(self.done) == self.at + 1)

    def strike(self, path):
        if self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.error, os.strerror(self.error), path)

    def note(self, operation, path):
        if not str(path).startswith(self.root):
            return False
        self.done.append((operation, os.path.relpath(path, self.root)))
        return True

    def install(self, patch):
        for name in ("mkdir", "unlink", "chmod", "utime", "replace"):
            patch.setattr(os, name, self.wrapped(name, getattr(os, name)))
        plain = {name: getattr(os, name) for name in ("open", "fsync", "fdopen", "fchmod")}

        def open_(path, *rest, **named):
            if self.note("open", path) and self.strikes():
                self.strike(path)
            handle = plain["open"](path, *rest, **named)
            self.paths[handle] = path
            return handle

        def fsync(handle):
            path = self.paths.get(handle, "")
            if self.note("fsync", path) and self.strikes():
                self.strike(path)
            plain["fsync"](handle)

        def fdopen(handle, *rest, **named):
            file = plain["fdopen"](handle, *rest, **named)
            return Written(self, file, self.paths.get(handle, ""))

        def fchmod(handle, mode):
            path = self.paths.get(handle, "")
            if self.note("fchmod", path) and self.strikes():
                self.strike(path)
            plain["fchmod"](handle, mode)

        for name, function in (("open", open_), ("fsync", fsync), ("fdopen", fdopen), ("fchmod", fchmod)):
            patch.setattr(os, name, function)
        return self

    def wrapped(self, name, plain):
        def wrapper(path, *rest, **named):
            if self.note(name, rest[0] if name == "replace" else path) and self.strikes():
                self.strike(path)
            return plain(path, *rest, **named)

        return wrapper


class Written:
    """A file that is written, through a `Disk`."""

    def __init__(self, disk, file, path):
        self.disk, self.file, self.path = disk, file, path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        if self.disk.note("write", self.path) and self.disk.strikes():
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            self.disk.strike(self.path)
        self.file.write(content)


def forked(work):
    """How a process of its own ends that does this work: its status, or the negative signal."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            status = work() or 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
