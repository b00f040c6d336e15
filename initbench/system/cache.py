"""Folders for data that may be deleted at any time: speeds of this machine, compiled code."""

import errno
import os
import stat
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder `initbench` in the user's cache folder; it may not exist yet.

    For a process without a home it is in the system's temporary folder; OSError if another user owns it. Relative paths
    in the environment are ignored, because they would lead below the working directory.
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
    """Set HOME to a temporary folder in a process without a home.

    Otherwise some libraries would read and write in a folder `~` of the working directory.
    """
    if home_folder() is None:
        try:
            home = _temporary()
        except OSError:  # another user owns it
            home = Path(tempfile.mkdtemp(prefix="initbench-"))
        os.environ["HOME"] = str(home)


def home_folder() -> Path | None:
    """Return the user's home, or None if HOME is not set to a path and the system has no record of the user."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


def private(folder: Path) -> Path:
    """Return a folder that only this user can access, created if necessary; OSError if others can, or if that fails.

    Its content can be trusted like the user's own code, because no other user can write there. On Windows, folders of a
    user are private by default.
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
    """Raise OSError if another user could replace this folder with their own."""
    if folder.parent.stat().st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "the folder above it belongs to another user", str(folder))
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(errno.EPERM, f"all users may write to {parent}", str(folder))
