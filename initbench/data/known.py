"""Data sets that a grid file asks for by name: where they may lie, the record of where they do, and their download."""

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from initbench.data import cifar, idx
from initbench.errors import UserError, nearest, shown
from initbench.system import files
from initbench.system.cache import cache_folder, home_folder

MAX_RECORD_BYTES = 1_000_000

# What a download may take without any answer, in seconds.
TIMEOUT = 30


@dataclass(frozen=True)
class Known:
    """A data set with a name."""

    summary: str
    format: str  # "idx" or "cifar10"
    folders: tuple[str, ...]  # where torchvision puts it, below a folder of data sets; also absolute ones
    urls: tuple[tuple[str, str], ...]  # each with the MD5 of what lies there
    sizes: tuple[tuple[int, int], ...]  # the numbers of training and test images, of each version
    classes: int
    shape: tuple[int, int, int] = (28, 28, 1)
    emnist: str = ""  # the split of EMNIST
    digest: str = ""  # the twelve digits of its content, as `datasets.describe` has them, where they are known
    batches: tuple[tuple[str, str], ...] = ()  # files of a download that are packed together, each with its MD5

    @property
    def sums(self) -> dict[str, str]:
        """The MD5 of each published file, by name."""
        return {url.rpartition("/")[2]: md5 for url, md5 in self.urls} | dict(self.batches)


# URLs and MD5 are those of torchvision: torchvision/datasets/mnist.py and cifar.py.
def _of_mnist(base: str, sums: tuple[str, str, str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{base}{stem}.gz", md5) for stem, md5 in zip(idx.IDX_STEMS, sums, strict=True))


EMNIST_URLS = (("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e"),)


def _emnist(split: str, summary: str, classes: int, *sizes: tuple[int, int]) -> Known:
    text = f"EMNIST {split}: {summary}, 28 × 28"
    return Known(text, "idx", ("EMNIST/raw",), EMNIST_URLS, sizes, classes, emnist=split)


# Sizes of EMNIST: Cohen et al. 2017, table II; those of the letters are that table's, and those of the later files.
KNOWN = {
    "fashion_mnist": Known(
        "Fashion-MNIST: 70,000 images of clothes, 28 × 28, ten classes",
        "idx",
        ("/usr/share/datasets/fashion-mnist", "FashionMNIST/raw"),  # the first is Debian's dataset-fashion-mnist
        _of_mnist(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        ((60_000, 10_000),),
        10,
        digest="a485933e0d1e",
    ),
    "kmnist": Known(
        "KMNIST: 70,000 Kuzushiji characters, 28 × 28, ten classes",
        "idx",
        ("KMNIST/raw",),
        _of_mnist(
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
        ((60_000, 10_000),),
        10,
    ),
    "emnist_letters": _emnist("letters", "145,600 letters, 26 classes", 26, (124_800, 20_800), (88_800, 14_800)),
    "emnist_balanced": _emnist("balanced", "131,600 digits and letters, 47 classes", 47, (112_800, 18_800)),
    "emnist_digits": _emnist("digits", "280,000 digits, ten classes", 10, (240_000, 40_000)),
    "emnist_byclass": _emnist("byclass", "814,255 digits and letters, 62 classes", 62, (697_932, 116_323)),
    "emnist_bymerge": _emnist("bymerge", "814,255 digits and letters, 47 classes", 47, (697_932, 116_323)),
    "emnist_mnist": _emnist("mnist", "70,000 digits, ten classes", 10, (60_000, 10_000)),
    "cifar10": Known(
        "CIFAR-10: 60,000 photographs, 32 × 32 in color, ten classes",
        "cifar10",
        ("cifar-10-batches-bin", "cifar-10-batches-py"),
        (("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
        ((50_000, 10_000),),
        10,
        (32, 32, 3),
        batches=(
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ("test_batch", "40351d587109b95175f43aff81a1287e"),
        ),
    ),
}


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
            "data fetch needs pooch: pip install 'initbench[data]'; or download the files from "
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
