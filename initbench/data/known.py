"""Data sets that a grid file asks for by name: where they may lie, the record of where they do, and their download."""

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from initbench.data import cifar, idx
from initbench.data.catalog import KNOWN
from initbench.errors import UserError, nearest, shown
from initbench.system import files
from initbench.system.cache import cache_folder, home_folder

MAX_RECORD_BYTES = 1_000_000

# What a download may take without any answer, in seconds.
TIMEOUT = 30


def find(name: str) -> Path:
    """Return the folder of a data set by its name; UserError, with what to do, if there is none.

    The recorded folder comes first, then that of a download, then the known places.
    """
    if recorded := records().get(name):
        if not has_files(name, Path(recorded)):
            raise UserError(
                f"{name}: not in {recorded}, where it was recorded; record its folder again: initbench data add {name} "
                "FOLDER"
            )
        return Path(recorded)
    for folder in folders(name):
        if has_files(name, folder):
            return folder.resolve()
    raise UserError(
        f"{name}: not found in {', '.join(map(str, folders(name)))}; if you have it, initbench data add {name} FOLDER; "
        f"to download it, initbench data fetch {name}; or give its folder in the grid file, dataset = "
        f"{{ {KNOWN[name].format} = 'FOLDER' }}"
    )


def folders(name: str) -> Iterator[Path]:
    """Yield the folders in which a data set may lie: of a download, torchvision's in ./data and ~/data, Debian's."""
    yield downloads(name)
    home = home_folder()
    for root in (Path("data"), *([home / "data"] if home else ())):
        for below in KNOWN[name].folders:
            if not os.path.isabs(below):
                yield root / below
    yield from (Path(below) for below in KNOWN[name].folders if os.path.isabs(below))


def has_files(name: str, folder: Path) -> bool:
    """Return whether a folder has the first file of a data set."""
    data_set = KNOWN[name]
    return cifar.has_files(folder) if data_set.format == "cifar10" else idx.has_files(folder, data_set.emnist)


def emnist_split(name: str) -> str:
    """Return the split of EMNIST that a name asks for; an empty string for other data sets, and without a name."""
    return KNOWN[name].emnist if name else ""


def downloads(name: str) -> Path:
    """Return the folder of a downloaded data set; all splits of EMNIST are one download."""
    return cache_folder() / "data" / ("emnist" if KNOWN[name].emnist else name)


# ---------------------------------------------------------------------------------------------------------------------
# The record


def records() -> dict[str, str]:
    """Return the recorded folder of each data set, by name; none if there is no valid record."""
    try:
        stored = files.read_json(_record(), MAX_RECORD_BYTES)
        return {name: path for name, path in stored.items() if name in KNOWN and type(path) is str}
    except (OSError, ValueError, AttributeError):
        return {}


def record(name: str, folder: Path) -> None:
    """Record the folder of a data set; it replaces an earlier one."""
    with _changed() as recorded:
        recorded[name] = str(folder)


def remove(name: str) -> str:
    """Remove the recorded folder of a data set, whose files stay; returns it. UserError if there is none."""
    with _changed() as recorded:
        if name not in recorded:
            raise UserError(f"{name}: no folder is recorded; recorded: {', '.join(recorded) or 'none'}")
        return recorded.pop(name)


@contextlib.contextmanager
def _changed() -> Iterator[dict[str, str]]:
    """Yield the record to change, and write it; of several processes, each change is kept."""
    from filelock import FileLock

    files.make_folder(_record().parent)
    lock = FileLock(f"{_record()}.lock", timeout=TIMEOUT)
    with contextlib.suppress(OSError):  # without a lock where there can be none
        lock.acquire()
    try:
        recorded = records()
        yield recorded
        files.write_file(_record(), json.dumps(recorded, indent=1).encode())
    finally:
        lock.release()


def check_name(name: str) -> None:
    """Raise UserError unless this is the name of a data set with files."""
    if name == "mnist":
        raise UserError(
            "mnist: embedded in initbench, and needs no folder: dataset = 'mnist'; for other files dataset = "
            "{ idx = 'FOLDER' }"
        )
    if name not in KNOWN:
        raise UserError(f"{shown(name)}: no data set with a name; allowed: {', '.join(KNOWN)}{nearest(name, KNOWN)}")


def _record() -> Path:
    return cache_folder() / "datasets.json"


# ---------------------------------------------------------------------------------------------------------------------
# The download


def fetch(name: str, on_file: Callable[[str], object] = lambda url: None) -> Path:
    """Download a data set with pooch into its folder in the cache, each file checked by its MD5; returns the folder.

    The files are complete when they appear there: an interrupted download leaves nothing. `on_file` is called with each
    URL before it is downloaded. UserError, one line, without pooch, without a connection, and for a wrong MD5.
    """
    try:
        import pooch
        import requests
    except ImportError:
        raise UserError(
            "data fetch needs pooch: pip install 'initbench[download]'; or download the files from "
            f"{KNOWN[name].urls[0][0].rpartition('/')[0]} yourself, and initbench data add {name} FOLDER"
        ) from None
    folder = downloads(name)
    files.make_folder(folder.parent)
    pooch.get_logger().setLevel("ERROR")
    with tempfile.TemporaryDirectory(prefix=".initbench-", dir=folder.parent) as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        for url, md5 in KNOWN[name].urls:
            on_file(url)
            try:
                path = pooch.retrieve(
                    url,
                    known_hash=f"md5:{md5}",
                    fname=url.rpartition("/")[2],
                    path=temporary,
                    downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
                )
            except ValueError:
                raise UserError(
                    f"{url}: its MD5 is not {md5}; nothing was stored. Download it elsewhere, and initbench data add "
                    f"{name} FOLDER"
                ) from None
            except (requests.exceptions.RequestException, OSError) as error:
                raise _not_downloaded(name, url, error) from None
            _unpack(Path(path), content)
        shutil.rmtree(folder, ignore_errors=True)
        content.replace(folder)
    return folder


def _not_downloaded(name: str, url: str, error: Exception) -> UserError:
    response = getattr(error, "response", None)
    reason = type(error).__name__ if response is None else f"status {response.status_code}"
    return UserError(
        f"{url}: cannot be downloaded ({reason}); is there a connection? Else download it on another computer, "
        f"and initbench data add {name} FOLDER"
    )


def _unpack(path: Path, folder: Path) -> None:
    """Move a file to a folder, or the files of an archive, without their folders."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as packed, (folder / Path(entry.filename).name).open("wb") as file:
                        shutil.copyfileobj(packed, file)
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content:
                    with (folder / Path(member.name).name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    else:
        path.replace(folder / path.name)
