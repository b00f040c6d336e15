"""Permission to run a plugin's code: one question, whose yes is remembered for exactly these bytes."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initbench.errors import UserError
from initbench.plugins import consent
from initbench.plugins.bundle import Bundle
from initbench.system import files

GRID = "plugins = ['my_schemes.py']\n"
CODE = {"my_schemes.py": b"import scales\n\ndef mine(shape): ...\n", "scales.py": b"GAIN = 2"}


def bundle(**contents):
    """A plugin of two files, some of them with other contents."""
    return Bundle("own/my_schemes.py", "my_schemes.py", {**CODE, **{f"{k}.py": v for k, v in contents.items()}})


class Terminal(io.StringIO):
    """A terminal in which a person types."""

    def isatty(self):
        return True


class CtrlC(Terminal):
    def readline(self, *_):
        raise KeyboardInterrupt


class Undecodable(Terminal):
    def readline(self, *_):
        return b"\xff\n".decode()


class Forgetful(set):
    """What was given in this process, as another process sees it."""

    def __contains__(self, _):
        return False


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(consent, "_allowed_here", Forgetful())
    return tmp_path / "initbench"


@pytest.fixture
def typing(monkeypatch):
    """A function that asks for permission in a terminal with an answer; it returns what was printed."""

    def output_of(typed, bundles, grid_text=GRID):
        printed = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", Terminal(typed) if isinstance(typed, str) else typed)
            patch.setattr("sys.stdout", printed)
            consent.ask("grid.toml", grid_text, bundles)
        return printed.getvalue()

    return output_of


def test_the_question_shows_each_file_where_it_is_and_how_long_and_one_yes_is_enough(typing):
    folder = Path("own").absolute()
    assert typing("y\n", [bundle()]) == (
        f"grid.toml runs code:\n  {folder}/my_schemes.py, 3 lines\n  {folder}/scales.py, 1 line\nRun this code? [y/N] "
    )
    assert typing("", [bundle()]) == ""
    consent.refuse_unless_allowed("grid.toml", GRID, [bundle()])  # nor where there is no terminal


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yes please\n", CtrlC(), Undecodable()])
def test_any_answer_but_yes_is_a_no_in_one_line_and_leaves_nothing(typing, cache, typed):
    with pytest.raises(UserError) as no:
        typing(typed, [bundle()])
    assert no.value.lines == ("grid.toml: nothing was done, because its code may not run",)
    assert not cache.exists()


@pytest.mark.parametrize("typed", ["y\n", "YES\n", " yes \n"])
def test_a_yes_is_y_or_yes(typing, typed):
    typing(typed, [bundle()])


def test_without_a_terminal_one_line_names_the_file_and_the_option(cache):
    for callback in (consent.ask, consent.refuse_unless_allowed):
        with pytest.raises(UserError) as refused:
            callback("grid.toml", GRID, [bundle()])
        assert refused.value.lines == (
            "grid.toml: own/my_schemes.py may not run: it is code; to allow it give --allow-plugins, or in Python "
            "allow_plugins=True",
        )
    consent.allow("grid.toml", GRID, [bundle()])  # the option, which leaves nothing either
    assert not cache.exists()


def test_a_changed_byte_of_the_grid_or_of_any_file_asks_again(typing):
    typing("y\n", [bundle()])
    for bundles, grid_text in (
        ([bundle()], GRID + " "),
        ([bundle()], ""),
        ([bundle(my_schemes=CODE["my_schemes.py"] + b"\n")], GRID),
        ([bundle(scales=b"GAIN = 3")], GRID),
        ([bundle(another=b"")], GRID),
        ([bundle(), bundle(scales=b"GAIN = 3")], GRID),
        ([Bundle("own/my_schemes.py", "my_schemes.py", {"my_schemes.py": CODE["my_schemes.py"]})], GRID),
        ([Bundle("own/scales.py", "scales.py", CODE)], GRID),
    ):
        with pytest.raises(UserError, match="nothing was done"):
            typing("", bundles, grid_text)


files_of = st.dictionaries(st.text("ab./ \n", max_size=3), st.binary(max_size=3), max_size=3)


@given(
    st.text("ab\n", max_size=3),
    st.lists(files_of, max_size=2),
    st.text("ab\n", max_size=3),
    st.lists(files_of, max_size=2),
)
def test_equal_digests_are_equal_files(first_text, first, second_text, second):
    def content(folders):
        return [Bundle("x", "main.py", {"main.py": b"", **contents}) for contents in folders]

    def sorted_files(folders):
        return sorted(sorted(contents.items()) for contents in folders)

    equal = consent.digest(first_text, content(first)) == consent.digest(second_text, content(second))
    assert equal == ((first_text, sorted_files(first)) == (second_text, sorted_files(second)))


def test_the_newest_thousand_are_remembered(typing, cache):
    for n in range(3):
        typing("y\n", [bundle()], str(n))
    path = cache / "plugins" / "plugins.json"
    digests = json.loads(path.read_text())
    assert digests == [consent.digest(str(n), [bundle()]) for n in range(3)]
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text(json.dumps(digests[:1] + ["0" * 64] * 999))
    typing("y\n", [bundle()], "newest")
    digests = json.loads(path.read_text())
    assert (len(digests), digests[-1], digests[0]) == (1000, consent.digest("newest", [bundle()]), "0" * 64)
    assert path.stat().st_size < consent.MAX_BYTES
    assert typing("", [bundle()], "newest") == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b"\xff", b"[" * 10_000, b" " * (consent.MAX_BYTES + 1)])
def test_a_damaged_file_remembers_nothing_and_the_next_yes_replaces_it(typing, cache, content):
    typing("y\n", [bundle()])
    path = cache / "plugins" / "plugins.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="nothing was done"):
        typing("", [bundle()])
    assert path.read_bytes() == content
    typing("y\n", [bundle()])
    assert typing("", [bundle()]) == ""


def test_leave_in_a_folder_that_others_can_write_to_does_not_count(typing, cache):
    typing("y\n", [bundle()])
    (cache / "plugins").chmod(0o777)
    with pytest.raises(UserError, match="nothing was done"):
        typing("", [bundle()])
    assert typing("y\n", [bundle()]).endswith("[y/N] ")  # runs, and is not remembered
    with pytest.raises(UserError, match="nothing was done"):
        typing("", [bundle()])


def test_where_nothing_can_be_written_a_yes_counts_in_this_process(typing, monkeypatch):
    def full(*_):
        raise files.CannotWrite(28, "No space left on device", "plugins.json")

    monkeypatch.setattr(files, "write_file", full)
    typing("y\n", [bundle()])
    with pytest.raises(UserError, match="nothing was done"):
        typing("", [bundle()])
    monkeypatch.setattr(consent, "_allowed_here", set())
    typing("y\n", [bundle()])
    assert typing("", [bundle()]) == ""


def test_a_name_cannot_control_the_terminal(typing):
    name = "a\x1b[2Jb.py"
    assert "\x1b" not in typing("y\n", [Bundle(name, name, {name: b""})])
