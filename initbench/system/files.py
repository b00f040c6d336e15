"""Reading and writing single files: a file is written whole or not at all, and whatever is read has a limit."""

import contextlib
import errno
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from initbench.errors import CannotWrite

# Files that are being written have such names, which no reader takes for a result.
HIDDEN, UNFINISHED = ".initbench-", ".tmp"

# No number in a JSON file of a run is larger; products of a few of them are finite.
MAX_NUMBER = 1e100

# What a disk says that is full, or on which the user has no more room; and one that is broken.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
NO_ROOM = (*FULL, errno.EIO)

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def read(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file of at most `max_bytes`; OSError, whose `strerror` says why, of anything else.

    This never waits and never fills the memory, whatever lies at the path. A symbolic link is followed, so that parts
    may lie on another disk; what it leads to has to be a regular file, too.
    """
    status = check_regular(path)  # before it is opened, which wakes some devices
    if status.st_size > max_bytes:
        raise _too_large(path, max_bytes)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        status = _checked(os.fstat(descriptor), path)  # it may be another file by now
        left = max_bytes + 1
        chunks = []
        size = min(status.st_size, max_bytes) + 1
        while left > 0 and (chunk := os.read(descriptor, min(left, size))):
            chunks.append(chunk)
            left -= len(chunk)
            size = max(size, 2**16)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise _too_large(path, max_bytes)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check_regular(path: Path) -> os.stat_result:
    """The status of a file; OSError, whose `strerror` says why, if it is not a regular one, and leads to none."""
    return _checked(os.stat(path), path)


def _checked(status: os.stat_result, path: Path) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"is {kind}, not a regular file", str(path))
    return status


def _too_large(path: Path, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"is larger than {max_bytes:,} bytes", str(path))


def read_json(path: Path, max_bytes: int) -> Any:
    """What a JSON file says. OSError as for `read`; ValueError if it is not JSON, or not what a run writes as JSON.

    That is: no key twice in one object, no number that is not finite or beyond `MAX_NUMBER`, no nesting without end.
    """
    content = read(path, max_bytes)
    try:
        return json.loads(
            content, parse_float=_number, parse_int=_number, parse_constant=_number, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _number(text: str) -> int | float:
    number: int | float = int(text) if text.lstrip("-").isdigit() else float(text)
    if not abs(number) <= MAX_NUMBER:  # nor is it "NaN"
        raise ValueError("a number that is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key that is there twice")
    return values


def is_regular(path: Path) -> bool:
    """Whether a regular file lies at a path itself: a symbolic link to one is none."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def is_own_folder(path: Path) -> bool:
    """Whether a folder lies at a path itself: a symbolic link to one is none."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, by name; nothing where there is no such folder, or it cannot be read."""
    try:
        with os.scandir(folder) as scan:
            return sorted(scan, key=lambda entry: entry.name)
    except OSError:
        return []


def write_file(path: Path, content: bytes, synced: bool = True) -> None:
    """Write a file so that a crash leaves the old one or the new one: a hidden name, synced, renamed, folder synced.

    A new file has the permissions that the umask leaves. One that is replaced hands its own on to the new file, and its
    owner and group where that is allowed. A symbolic link is replaced, and not followed.

    Raises CannotWrite, and leaves nothing behind.
    """
    try:
        make_folder(path.parent)
        temporary = path.parent / f"{HIDDEN}{secrets.token_hex(8)}{UNFINISHED}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(temporary, flags, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                if os.name == "posix":
                    _keep_permissions(handle, path)  # before there is anything to be read
                file.write(content)
                file.flush()
                if synced:
                    os.fsync(handle)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if synced:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(error, path) from None


def _keep_permissions(handle: int, path: Path) -> None:
    """Give a new file the owner, the group and the mode of the file that it replaces, if there is one.

    The new file never has more readers: where the group cannot be kept, the new group gets what everybody has; and what
    a symbolic link leads to limits the mode.
    """
    try:
        old, new = os.stat(path), os.fstat(handle)
    except OSError:  # a new file, or a link that leads nowhere
        return
    if not stat.S_ISREG(old.st_mode):
        return
    mode = old.st_mode & 0o777
    if path.is_symlink():
        mode &= new.st_mode
    else:
        same_owner = old.st_uid == new.st_uid or _handed_to(handle, old.st_uid, -1)
        same_group = old.st_gid == new.st_gid or _handed_to(handle, -1, old.st_gid)
        if not same_group:
            mode &= ~0o070 | (mode & 0o007) << 3
        if not same_owner:
            mode |= 0o600  # whoever writes it may read it and write it again
    if mode != new.st_mode & 0o777:
        os.fchmod(handle, mode)


def _handed_to(handle: int, user: int, group: int) -> bool:
    try:
        os.fchown(handle, user, group)
    except OSError:  # only the superuser gives a file away, and a group only who is in it
        return False
    return True


def cannot_write(error: OSError, path: Path) -> CannotWrite:
    """What is raised when a file cannot be written."""
    return CannotWrite(error.errno, error.strerror or str(error), str(path))


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and sync what holds each, so that a crash does not take them away again."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def is_unfinished(name: str) -> bool:
    """Whether a file of this name was being written when its writer was killed."""
    return name.startswith(HIDDEN) and name.endswith(UNFINISHED)


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed left half written in a folder."""
    for entry in entries(folder):
        if is_unfinished(entry.name):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def sync_folder(path: Path) -> None:
    """See to it that the names in a folder are on the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shared disks sync no folders
                raise
        finally:
            os.close(descriptor)
