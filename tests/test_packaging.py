"""What is released: the version stands in every place; a wheel has every file of the package, and works alone."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import typer

from initbench import __version__
from initbench.cli import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAX_SDIST, MAX_WHEEL = 20_000_000, 13_000_000  # bytes; MNIST has 11.5 million


def built(directory, kind, into):
    code = f"from hatchling import build; print(build.build_{kind}({str(into)!r}))"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=directory, text=True)
    return into / printed.split()[-1]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The source distribution, the folder that is in it, and the wheel that is built from that."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("release")
    sdist = built(ROOT, "sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    sources = folder / sdist.name.removesuffix(".tar.gz")
    return sdist, sources, built(sources, "wheel", folder)


def test_a_wheel_built_from_the_source_distribution_has_every_file_of_the_package(release):
    with zipfile.ZipFile(release[2]) as wheel:
        packaged = {name for name in wheel.namelist() if name.startswith("initbench/")}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "initbench").rglob("*") if path.is_file()}
    assert packaged == {name for name in files if "__pycache__" not in name}


def test_the_files_of_a_release_are_complete_and_small(release):
    sdist, sources, wheel = release
    assert sdist.name == f"initbench-{__version__}.tar.gz"
    assert wheel.name == f"initbench-{__version__}-py3-none-any.whl"
    assert sdist.stat().st_size < MAX_SDIST
    assert wheel.stat().st_size < MAX_WHEEL
    for name in ("README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "docs/how-to/install.md", "tests/command.py"):
        assert (sources / name).is_file(), name
    assert not (sources / "results" / "example-keepcoding").exists()
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        (licenses,) = {name.partition("licenses/")[0] for name in names if "/licenses/" in name}
        for path in ("LICENSE", "initbench/data/LICENSE.md"):
            assert content.read(f"{licenses}licenses/{path}") == (ROOT / path).read_bytes()
        header, _, page = content.read(f"initbench-{__version__}.dist-info/METADATA").decode().partition("\n\n")
    metadata = message_from_string(header)
    assert (metadata["Version"], metadata["License-Expression"]) == (__version__, "MIT AND CC-BY-SA-3.0")
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)
    assert page.strip() == (ROOT / "PYPI.md").read_text(encoding="utf-8").strip()


@pytest.mark.slow
def test_pypi_accepts_the_files(release):
    pytest.importorskip("twine")
    words = [sys.executable, "-m", "twine", "check", "--strict", str(release[0]), str(release[2])]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout.count("PASSED")) == (0, 2), checked.stdout + checked.stderr


@pytest.mark.slow
def test_an_environment_with_the_wheel_alone_runs_a_preset_in_any_folder(release, tmp_path):
    """Of the environment of the tests it has the requirements, and not the checkout."""
    pytest.importorskip("pip")
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*words, str(release[2])], check=True)
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([python, "-c", purelib], text=True).strip())
    # A path in a .pth file is added without its own .pth files, in which the checkout may be.
    requirements = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "requirements.pth").write_text("\n".join(requirements), encoding="utf-8")
    code = "import initbench, sys; print(initbench.__file__); print(*sys.path, sep='\\n')"
    module, *path = subprocess.check_output([python, "-c", code], text=True, cwd=elsewhere).splitlines()
    assert Path(module).parent == packages / "initbench"
    assert str(ROOT) not in path
    program = [scripts / "initbench", "run", "--preset", "keepcoding", "--smoke", "--workers", "1"]
    ran = subprocess.run(program, capture_output=True, text=True, check=False, cwd=elsewhere)
    assert ran.returncode == 0, ran.stderr
    assert "48 of 48 cells" in ran.stdout
    assert (elsewhere / "results" / "keepcoding-smoke" / "report.html").stat().st_size > 100_000
    assert [path.name for path in elsewhere.iterdir()] == ["results"]


def test_the_citation_and_the_changelog_name_the_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT


def test_the_citation_has_the_keys_that_its_format_requires_and_no_others():
    """As in schema.json of the Citation File Format 1.2.0, of which this is the part that the file needs."""
    citation = pytest.importorskip("yaml").safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    jsonschema = pytest.importorskip("jsonschema")
    string = {"type": "string", "minLength": 1}
    properties = {
        "cff-version": {"const": "1.2.0"},
        "message": string,
        "title": string,
        "authors": {
            "type": "array",
            "minItems": 1,
            "items": {  # an entity; a person has other names
                "type": "object",
                "required": ["name"],
                "properties": {"name": string, "website": string},
                "additionalProperties": False,
            },
        },
        "type": {"enum": ["software", "dataset"]},
        "version": string,
        "date-released": {"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[012])-(0[1-9]|[12]\d|3[01])$"},
        "license": {"const": "MIT"},
        "abstract": string,
        "keywords": {"type": "array", "minItems": 1, "uniqueItems": True, "items": string},
        "repository-code": string,
    }
    required = ["cff-version", "message", "title", "authors"]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    jsonschema.Draft7Validator(schema).validate(citation)
    assert [author["name"] for author in PROJECT["authors"]] == [author["name"] for author in citation["authors"]]


def requirements():
    """Every requirement of the project and its extras, as `packaging` parses it."""
    parse = pytest.importorskip("packaging.requirements").Requirement
    texts = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    return [parsed for parsed in map(parse, texts) if parsed.name != "initbench"]


def test_the_constraints_pin_every_requirement_once_at_a_version_that_it_allows():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    assert len(pinned) == sum(not line.startswith("#") for line in lines)
    for requirement in requirements():
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert requirement.specifier.contains(pinned[name]), requirement


def test_every_extra_is_documented_and_none_brings_a_build_of_torch():
    rows = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[\w-]+`(?:, `[\w-]+`)*) \| ", rows.partition("## Extras")[2], re.MULTILINE)
    documented = re.findall(r"[\w-]+", " ".join(cells))
    assert sorted(documented) == sorted(EXTRAS)
    names = [requirement.name for requirement in requirements()]
    assert names.count("torch") == 1
    assert not [name for name in names if re.search("cuda|nvidia|triton", name)]


def test_the_page_of_the_package_needs_no_repository_and_its_commands_exist():
    text = (ROOT / "PYPI.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((.*?)\)|src=\"(.*?)\"", text)
    assert not links
    commands = typer.main.get_command(app).commands
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^initbench (\w+)(.*)", blocks, re.MULTILINE)
    assert len(lines) == 5
    for name, words in lines:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= options
    users = [extra for extra in EXTRAS if extra != "docs" and not extra.startswith("dev")]
    assert set(re.findall(r"`initbench\[(\w+)\]`", text)) == set(users)
