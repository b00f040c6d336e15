"""Whether a report is as initbench wrote it, and what it was made from is unchanged, so that it is not regenerated.

What was written is recorded in the user's cache, not in the experiment's folder: a folder from someone else cannot say
that its page is initbench's.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import initbench
from initbench.results import store
from initbench.results.experiment import Experiment
from initbench.system import files
from initbench.system.cache import cache_folder

# The libraries that compute, draw and lay out what is in a report.
LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "seaborn")

# No report is larger: its figures, its tables and the data in it are limited.
MAX_PAGE_BYTES = 100_000_000

# The reports that are remembered, the newest: enough for any person, and no file that grows.
MAX_RECORDS = 1000


def inputs(experiment: Experiment, timings: Sequence[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of all that a report is made from; for an experiment whose table was read."""
    sources = [asdict(source) for source in experiment.grid.sources.values()]
    parts, seen = experiment.parts_read, experiment.seeds_seen
    plugins = [plugin.to_json() for plugin in experiment.plugins.values()]
    signal = store.ids(experiment.folder, "signal")
    content = [_code(), experiment.grid.name, experiment.grid.text, sources, parts, signal, seen, timings, plugins]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@lru_cache
def _code() -> list[str]:
    """Return the version of each library, and the SHA-256 of the program itself."""
    folder = Path(initbench.__file__).parent
    code = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".html", ".css", ".js")):
        content = path.read_bytes()
        code.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return [code.hexdigest(), *map(version, LIBRARIES)]


def record(path: Path, made_from: str, page: bytes) -> None:
    """Record that a report was written, and what it was made from."""
    address = _address(path)
    records = {other: digest for other, digest in _records().items() if other != address}
    newest = list(records.items())[-MAX_RECORDS + 1 :]
    with contextlib.suppress(OSError):  # without a cache it is regenerated
        content = json.dumps({**dict(newest), address: _digest(made_from, page)}, indent=1)
        files.write_file(cache_folder() / "reports.json", content.encode(), synced=False)


def is_current(path: Path, made_from: str) -> bool:
    """Return whether a report is there as it was written, and would be made from the same."""
    recorded = _records().get(_address(path))
    if recorded is None or not files.is_regular(path):
        return False
    with contextlib.suppress(OSError):
        return recorded == _digest(made_from, files.read(path, MAX_PAGE_BYTES))
    return False


def is_recorded(path: Path) -> bool:
    """Return whether a report was written here and something is there, so that it may be current."""
    return _address(path) in _records() and files.is_regular(path)


def _records() -> dict[str, object]:
    """Return the digest of each report that was written, by its path, the newest last."""
    with contextlib.suppress(OSError, ValueError):
        records = files.read_json(cache_folder() / "reports.json", MAX_RECORDS * 10_000)
        if isinstance(records, dict):
            return records
    return {}


def _address(path: Path) -> str:
    return str(path.parent.resolve() / path.name)


def _digest(made_from: str, page: bytes) -> str:
    return hashlib.sha256(made_from.encode() + page).hexdigest()
