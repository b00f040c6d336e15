"""Read and write single files: writes are atomic, and reads are limited in size."""

import contextlib
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from initbench.errors import CannotWrite

# Names of files that are being written; readers ignore them.
HIDDEN, UNFINISHED = ".initbench-", ".tmp"

# The largest number in an experiment's JSON files; products of a few of them are finite.
MAX_NUMBER = 1e100

# The errors of a full disk or an exhausted quota, and of a broken disk.
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
    """Return the bytes of a regular file of at most `max_bytes`; OSError, with the reason in `strerror`, otherwise.

    It neither blocks nor exhausts the memory, whatever the path refers to. A symbolic link is followed, so that parts
    may lie on another disk; its target must be a regular file too.
    """
    status = check_regular(path)  # before opening, which activates some devices
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
    """Return the status of a regular file, or of a link to one; OSError, with the reason in `strerror`, otherwise."""
    return _checked(os.stat(path), path)


def _checked(status: os.stat_result, path: Path) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"is {kind}, not a regular file", str(path))
    return status


def _too_large(path: Path, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"is larger than {max_bytes:,} bytes", str(path))


def read_json(path: Path, max_bytes: int) -> Any:
    """Return the value of a JSON file. OSError as for `read`; ValueError for invalid JSON.

    Also invalid: duplicate keys in an object, numbers that are not finite or exceed `MAX_NUMBER`, and deep nesting.
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
    if not abs(number) <= MAX_NUMBER:  # also false for NaN
        raise ValueError("a number that is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key that is there twice")
    return values


def is_regular(path: Path) -> bool:
    """Return whether a path is a regular file, and not a symbolic link to one."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder, and not a symbolic link to one."""
    with contextlib.suppress(OSError, ValueError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the entries of a folder, sorted by name; none if it does not exist or cannot be read."""
    try:
        with os.scandir(folder) as scan:
            return sorted(scan, key=lambda entry: entry.name)
    except OSError:
        return []


def write_file(path: Path, content: bytes, synced: bool = True) -> None:
    """Write a file atomically: under a hidden name, synced, renamed, folder synced. A crash leaves the old or the new.

    A new file has the permissions of the umask. The file that replaces another has its permissions, and its owner and
    group if that is allowed. A symbolic link is replaced, not followed.

    Raises CannotWrite, and leaves no temporary file.
    """
    try:
        make_folder(path.parent)
        temporary = path.parent / f"{HIDDEN}{os.urandom(8).hex()}{UNFINISHED}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(temporary, flags, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                if os.name == "posix":
                    _keep_permissions(handle, path)  # before there is any content
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
    """Give a new file the owner, the group and the mode of the file that it replaces, if any.

    The new file never has more readers: if the group cannot be set, the new group gets the permissions of others; and
    the target of a symbolic link limits the mode.
    """
    try:
        old, new = os.stat(path), os.fstat(handle)
    except OSError:  # a new file, or a broken link
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
            mode |= 0o600  # the writer may read and rewrite it
    if mode != new.st_mode & 0o777:
        os.fchmod(handle, mode)


def _handed_to(handle: int, user: int, group: int) -> bool:
    try:
        os.fchown(handle, user, group)
    except OSError:  # only root may change the owner, and only a member may set the group
        return False
    return True


def cannot_write(error: OSError, path: Path) -> CannotWrite:
    """Return the error for a file that cannot be written."""
    return CannotWrite(error.errno, error.strerror or str(error), str(path))


def make_folder(path: Path) -> None:
    """Create a folder and its parents, and sync the parent of each, so that they survive a crash."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def is_unfinished(name: str) -> bool:
    """Return whether this is the name of a temporary file, which a killed writer left."""
    return name.startswith(HIDDEN) and name.endswith(UNFINISHED)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that killed writers left in a folder."""
    for entry in entries(folder):
        if is_unfinished(entry.name):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def sync_folder(path: Path) -> None:
    """Write the names in a folder to the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shared disks cannot sync folders
                raise
        finally:
            os.close(descriptor)
