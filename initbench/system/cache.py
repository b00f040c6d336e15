"""Where things are kept that may be removed at any time: speeds of this machine, compiled code."""

import errno
import os
import stat
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """`initbench` below the user's folder for caches; it need not exist.

    A process without a home has a folder of its own below the system's temporary one. OSError if that is somebody
    else's. A relative path in the environment is no answer: it would lead below the working directory.
    """
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if os.path.isabs(os.environ.get(name, "")):
            return Path(os.environ[name]) / "initbench"
    if home := home_folder():
        return home / ".cache" / "initbench"
    return _temporary()


def _temporary() -> Path:
    user = os.geteuid() if os.name == "posix" else "cache"
    return private(Path(tempfile.gettempdir()) / f"initbench-{user}")


def provide_home() -> None:
    """Give a process without a home one below the temporary folder, for the libraries that look there.

    Some of them would read and write in a folder `~` of the working directory.
    """
    if home_folder() is None:
        try:
            home = _temporary()
        except OSError:  # it is somebody else's
            home = Path(tempfile.mkdtemp(prefix="initbench-"))
        os.environ["HOME"] = str(home)


def home_folder() -> Path | None:
    """The user's home; None where HOME is not set, or no path, and the system does not know the user."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


def private(folder: Path) -> Path:
    """A folder that is this user's alone, made if it is not there; OSError if it is not, or cannot be made.

    What lies in it can be trusted like the user's own code: no other user could have put it there. Windows keeps the
    folders of a user from others by itself.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is a link", str(folder))
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(errno.EPERM, "other users may enter it", str(folder))
        _check_parents(folder.resolve())
    return folder


def _check_parents(folder: Path) -> None:
    """OSError if another user could put a folder of their own in the place of this one."""
    if folder.parent.stat().st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "the folder above it belongs to another user", str(folder))
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(errno.EPERM, f"all users may write to {parent}", str(folder))
