"""Whatever a grid file, an IDX file or a results folder holds: a result, or lines that say what is wrong; nothing else.

The long form is `INITBENCH_SOAK_CASES=100000 pytest tests/test_fuzz.py -n 2`.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import hypothesis
import mutate
import pytest
from hypothesis import strategies as st
from test_datasets import write_folder

from initbench import cli, grid, gridfile
from initbench.errors import LONGEST_LINE, MOST_LINES, UserError
from initbench.initializers import INITIALIZERS
from initbench.plan import plan
from initbench.settings import MAX_CELLS

CASES = int(os.environ.get("INITBENCH_SOAK_CASES", "3000"))

# A case of the usual size takes milliseconds; one that takes so long hangs.
SECONDS = 20


class Hang(BaseException):
    """A case took too long."""


@contextmanager
def limited(seconds=SECONDS):
    """No case may hang."""

    def ring(*_):
        raise Hang

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# What Python says that a program does: nothing of it may happen while a stranger's file is read.
CHANGES = re.compile(r"os\.(mkdir|rename|remove|rmdir|link|symlink|truncate|ch|utime|setxattr)|shutil\.|tempfile\.")
RUNS = re.compile(r"subprocess\.|os\.(system|exec|fork|posix_spawn|spawn|startfile)|socket\.|pickle\.|ctypes\.")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watching = []


def _hook(event, arguments):
    if not _watching:
        return
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
    if opened or CHANGES.match(event) or RUNS.match(event):
        _watching[-1].append((event, *map(repr, arguments[:2])))
    elif event in ("compile", "exec"):
        code = arguments[0]
        name = getattr(code, "co_filename", None) or str(arguments[-1])
        if not os.path.exists(name) and not name.startswith("<frozen"):
            _watching[-1].append((event, repr(code)[:200], name))


@pytest.fixture(scope="session")
def hook():
    """Python's own watch, which is never taken away; after what is imported late was imported."""
    import tomlkit  # noqa: F401

    for name in INITIALIZERS:
        for activation in ("tanh", "elu"):
            text = f"[grid]\ninitializer = {name!r}\n[model]\nactivation = {activation!r}\nhidden = [8, 8]"
            with suppress(UserError):
                grid.parse(text)
    sys.addaudithook(_hook)


@contextmanager
def watched():
    """What is written, run, unpickled or sent meanwhile; a list that fills."""
    events = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.remove(events)


def chunks(cases, size=500):
    """The numbers of the mutants, a few hundred for each test, so that they spread over processes."""
    return [
        pytest.param(range(i, min(i + size, cases)), id=f"{i}-{min(i + size, cases)}") for i in range(0, cases, size)
    ]


def legible(error):
    """The lines of a mistake, after a look at whether people can read them."""
    assert 1 <= len(error.lines) <= MOST_LINES + 1
    for line in error.lines:
        assert line.strip()
        assert line.isprintable()  # so on one line, too
        assert len(line) <= LONGEST_LINE
    return error.lines


def is_a_plain_name(name):
    """Whether a name is that of a folder, here and on Windows, and of none but one."""
    here = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) and not name.endswith(".")
    device = name.partition(".")[0].lower()
    return (
        bool(here)
        and not re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", device)
        and (Path("r") / name).parent == Path("r")
    )


def planned_or_refused(read):
    """What becomes of a grid file: the grid, after its first cells were planned, or the lines of its mistakes."""
    try:
        found = read()
    except UserError as error:
        return legible(error)
    assert is_a_plain_name(found.name)
    assert 1 <= len(found) <= MAX_CELLS
    cells = list(itertools.islice(found.cells(), 40))
    assert sum(len(stack.cells) for stack in plan(cells, found.sources, 2)) == len(cells)
    assert len({cell.id for cell in cells}) == len(cells)
    return found


def tried(number, path):
    """One mutant: read, planned, written and read again, read with settings replaced, and cut to a smoke run."""
    found = planned_or_refused(lambda: grid.read(path))
    if isinstance(found, grid.Grid):
        if sum(map(len, found.axes.values())) < 1000:
            text = gridfile.to_toml("again", found.axes, found.sources)
            assert grid.parse(text, sources=found.sources).axes == found.axes
        overrides = ({"seed": 2, "epochs": [1, 2]}, {"name": "x", "dataset": "mnist"}, grid.smoke_overrides(found))
        planned_or_refused(lambda: grid.read(path, overrides[number % 3]))
    return found


@pytest.fixture
def place(tmp_path, monkeypatch, hook):
    """An empty folder to work in, with a folder of IDX files."""
    write_folder(tmp_path / "tiny", images=48, labels=48)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.soak
@pytest.mark.parametrize("numbers", chunks(CASES))
def test_a_mutated_grid_file_is_planned_or_refused_in_lines(place, numbers):
    path = place / "mutant.toml"
    path.touch()
    before, grids = listing(place), 0
    for number in numbers:
        path.write_bytes(mutate.grid_file(number))
        try:
            with limited(), watched() as events, warnings.catch_warnings():
                warnings.simplefilter("error")
                grids += isinstance(tried(number, path), grid.Grid)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert not events, number
    assert listing(place) == before
    # Both happen, or the mutants are of one kind only: about one in six is a grid still.
    if len(numbers) >= 400:
        assert 0.05 < grids / len(numbers) < 0.5


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(max_size=20)
    | st.dates()
    | st.times()
    | st.sampled_from(mutate.NUMBERS)
    | st.sampled_from([text for text in (*mutate.TEXTS, *mutate.NAMES) if len(text) < 100]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from((*mutate.NAMES, *mutate.PARAMETERS)) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from((*mutate.RULES, "name", "grid", "x")) | st.text(max_size=8)
SECTION = st.dictionaries(KEYS, VALUES, max_size=5) | VALUES
DOCUMENTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*mutate.SECTIONS, "name", "dataset", "device", "x"), SECTION)
)  # fmt: skip


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(document=DOCUMENTS)
def test_any_document_is_planned_or_refused_in_lines(document):
    with limited():
        planned_or_refused(lambda: grid.parse(mutate.toml(document)))


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(name=st.text(max_size=120), text=st.text(max_size=60))
def test_any_text_and_any_files_name_is_planned_or_refused_in_lines(name, text):
    with limited():
        planned_or_refused(lambda: grid.parse("[grid]\ninitializer = ['zeros']", name=name, origin=name))
        planned_or_refused(lambda: grid.parse(text, origin=name))
        planned_or_refused(lambda: grid.parse("[grid]\ninitializer = ['zeros']", overrides={"activation": text}))
        planned_or_refused(lambda: grid.parse("[grid]\ninitializer = ['zeros']", overrides={name: [text]}))


def command(monkeypatch, capsys, *arguments):
    """What a command's exit status is, and what it says on standard error."""
    monkeypatch.setattr(sys, "argv", ["initbench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, capsys.readouterr().err


def refused(path, first=0):
    """The mutants that are no grids, one after another, each written to a file."""
    for number in itertools.count(first):
        path.write_bytes(mutate.grid_file(number))
        try:
            grid.read(path)
        except UserError as error:
            yield number, list(error.lines)


def test_a_refused_grid_ends_the_command_with_2_and_lines_and_writes_nothing(place, monkeypatch, capsys):
    path = place / "mutant.toml"
    for number, lines in itertools.islice(refused(path), 60):
        before = listing(place)
        for arguments in (("plan", path), ("run", path, "--results", place / "results")):
            status, said = command(monkeypatch, capsys, *arguments)
            assert (number, status, said.splitlines()) == (number, 2, lines)
        assert listing(place) == before


def test_the_program_itself_says_the_same(place):
    path = place / "mutant.toml"
    for _, lines in itertools.islice(refused(path, 5000), 2):
        before = listing(place)
        arguments = [sys.executable, "-m", "initbench", "run", str(path), "--results", "results"]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
        assert (ended.returncode, ended.stderr.splitlines(), ended.stdout) == (2, lines, "")
        assert listing(place) == before


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "large.toml"])
def test_a_device_or_an_endless_file_is_refused_in_one_line(place, name):
    with open("large.toml", "wb") as file:
        file.truncate(2**40)  # sparse: it takes no room, and would fill the memory
    if not os.path.exists(name):
        pytest.skip(f"no {name} on this system")
    with limited(), pytest.raises(UserError, match=r"is a device|is too large") as error:
        grid.read(name)
    assert len(legible(error.value)) == 1


MANY = range(1, 5001)
SCHEMES = ", ".join(f"{{ name = 'kumar', bias_variance = {i}e-4 }}" for i in MANY)
FUNCTIONS = ", ".join(f"{{ name = 'elu', alpha = {i}e-3 }}" for i in MANY)
TOO_LARGE = {
    "a count of seeds": ("initializer = ['zeros']\nseed = 1000000000000", "1,000,000,000,000"),
    "a count that is not printed": ("initializer = ['zeros']\nseed = 0x1" + "0" * 5000, "about 10^6021"),
    "rates and seeds": (
        f"initializer = ['zeros']\nlearning_rate = {list(range(1, 1_000_001))}\nseed = 1000000",
        "1,000,000,000,000",
    ),
    "schemes that are tried on each network": (
        f"initializer = [{SCHEMES}]\nhidden = {[[i] for i in MANY]}\nactivation = [{FUNCTIONS}]\nseed = 8",
        "1,000,000,000,000",
    ),
    "values that are wrong besides": (
        f"initializer = ['he_norml', 'zeros']\nepochs = {[0] * 1000}\nbatch_size = {[-1] * 1000}\nseed = 500000",
        "1,000,000,000,000",
    ),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_grid_of_10_to_the_12_is_refused_before_any_value_is_looked_at(what, monkeypatch):
    text, count = TOO_LARGE[what]
    monkeypatch.setattr(grid, "validated", lambda *_: pytest.fail("the values were looked at"))
    with limited(60), pytest.raises(UserError) as error:
        grid.parse(f"[grid]\n{text}")
    (line,) = legible(error.value)
    assert f"the grid has {count} cells" in line
    assert f"at most {MAX_CELLS:,}" in line


@pytest.mark.parametrize("extreme", range(len(mutate.EXTREMES)))
def test_a_large_or_deep_text_takes_no_time_that_grows_with_its_square(place, extreme):
    for size in (1000, 50_000):
        with limited():
            planned_or_refused(lambda: grid.parse(mutate.EXTREMES[extreme](size)))  # noqa: B023
