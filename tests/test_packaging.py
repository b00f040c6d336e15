"""What is released: the version stands in every place, and a wheel has every file of the package."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from initbench import __version__

ROOT = Path(__file__).parents[1]


def built(directory, kind, into):
    code = f"from hatchling import build; print(build.build_{kind}({str(into)!r}))"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=directory, text=True)
    return into / printed.split()[-1]


def test_a_wheel_built_from_the_source_distribution_has_every_file_of_the_package(tmp_path):
    pytest.importorskip("hatchling")
    with tarfile.open(built(ROOT, "sdist", tmp_path)) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    with zipfile.ZipFile(built(tmp_path / names[0].partition("/")[0], "wheel", tmp_path)) as wheel:
        packaged = {name for name in wheel.namelist() if name.startswith("initbench/")}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "initbench").rglob("*") if path.is_file()}
    assert packaged == {name for name in files if "__pycache__" not in name}


def test_the_citation_and_the_changelog_name_the_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
