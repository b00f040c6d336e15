"""The bundle of a plugin has the files that it imports from beside itself, and its digest is that of their content."""

import contextlib
import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initbench.errors import UserError
from initbench.plugins import bundle
from initbench.plugins.bundle import Bundle


def write_files(folder, contents):
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def names_of(tmp_path, contents):
    write_files(tmp_path, contents)
    return set(bundle.read(tmp_path / "main.py").files) - {"main.py"}


def error_of(path, shown=None):
    with pytest.raises(UserError) as caught:
        bundle.read(path, shown)
    (line,) = caught.value.lines
    return line


IMPORTS = [
    ("import a", {"a.py"}),
    ("import a as b, c", {"a.py", "c.py"}),
    ("from a import x", {"a.py"}),
    ("from .a import x", {"a.py"}),
    ("from . import a, nothing", {"a.py"}),
    ("def f():\n    import a", {"a.py"}),
    ("class A:\n    if x:\n        try:\n            import a\n        except ImportError: pass", {"a.py"}),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import x", {"a.py"}),
    ("import pack.inner", {"pack/__init__.py", "pack/inner/m.py", "pack/other.py", "d.py"}),
    ("from pack import nothing", {"pack/__init__.py", "pack/inner/m.py", "pack/other.py", "d.py"}),
    ("import both", {"both/__init__.py"}),
    ("import space.m", {"space/m.py", "space/deep/m.py"}),
    ("from space import m", {"space/m.py", "space/deep/m.py"}),
    ("from space import deep", {"space/m.py", "space/deep/m.py"}),
    ("import space", set()),
    ("import space.nothing", set()),
    ("import chain", {"chain.py", "a.py", "c.py"}),
    ("import loop", {"loop.py", "back.py"}),
    ("import main", set()),
    ("import numpy, torch, random, json.decoder, initbench.initializers", set()),
    ("import scipy, nothing", {"scipy.py"}),
    ("__import__('a')\nimport importlib\nimportlib.import_module('a')", set()),
    ("# import a\n'import a'", set()),
    ("import data", set()),
]
BESIDE = {
    "a.py": "",
    "c.py": "",
    "d.py": "",
    "unrelated.py": "syntax error here",
    "pack/__init__.py": "",
    "pack/other.py": "import d",
    "pack/inner/m.py": "from .. import other",
    "pack/inner/my-template.py": "{{ x }}",
    "pack/__pycache__/m.py": "",
    "pack/data.txt": "",
    "both/__init__.py": "",
    "both.py": "",
    "space/m.py": "",
    "space/deep/m.py": "",
    "chain.py": "import a\nfrom c import x",
    "loop.py": "import back",
    "back.py": "import loop, main",
    "numpy.py": "",
    "torch/__init__.py": "",
    "random.py": "",
    "json/__init__.py": "",
    "initbench/__init__.py": "",
    "scipy.py": "",
    "data/table.csv": "",
}


@pytest.mark.parametrize(("code", "expected"), IMPORTS)
def test_a_bundle_has_what_the_file_imports_from_beside_itself(tmp_path, code, expected):
    assert names_of(tmp_path, {**BESIDE, "main.py": code}) == expected


def test_a_file_of_a_package_that_does_not_parse_is_kept_and_imports_nothing(tmp_path):
    assert names_of(tmp_path, {"main.py": "import p", "p/__init__.py": "", "p/old.py": "print 'x'"}) == {
        "p/__init__.py",
        "p/old.py",
    }


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfx = 1\r\n", b"x = 1\r\ny = 2\r", b"x = '\xc3\xa9'\n\x0c", b""])
def test_the_content_is_kept_byte_for_byte_also_as_json(tmp_path, content):
    write_files(tmp_path, {"main.py": content})
    code = bundle.read(tmp_path / "main.py", "main.py")
    assert code.files == {"main.py": content}
    again = Bundle.from_json(json.loads(json.dumps(code.to_json())))
    assert again == code
    assert again.digest == code.digest


def test_a_path_is_shown_as_it_was_named(tmp_path, monkeypatch):
    write_files(tmp_path, {"sub/main.py": "import a", "sub/a.py": "x ="})
    monkeypatch.chdir(tmp_path)
    assert error_of("sub/main.py") == "sub/a.py, line 1: SyntaxError: invalid syntax"
    assert error_of(tmp_path / "sub" / "main.py", "main.py") == "a.py, line 1: SyntaxError: invalid syntax"
    (tmp_path / "sub" / "a.py").write_text("")
    assert bundle.read("sub/main.py").path == os.path.join("sub", "main.py")


MISTAKES = [
    ("x = 1\ny = (\n", "main.py, line 2: SyntaxError: '(' was never closed"),
    (
        "def f():\nx",
        "main.py, line 2: IndentationError: expected an indented block after function definition on line 1",
    ),
    (b"x = 1\ny = '\xe9'\n", "main.py, line 2: it is not UTF-8; save it in that encoding"),
    (b"x = 1\0", "main.py: SyntaxError: source code string cannot contain null bytes"),
    ("x = " + "-" * 200_000 + "1", "main.py: SyntaxError: it is nested too deeply"),
    ("import " + "a." * 400_000 + "a", "main.py: SyntaxError: it is nested too deeply"),
    ("import " + "a \\\n . " * 100_000 + "a", "main.py: SyntaxError: it is nested too deeply"),
    ("# -*- coding: nothing -*-", "main.py: SyntaxError: unknown encoding: nothing"),
    (b"#" * 1_000_001, "main.py: is larger than 1,000,000 bytes"),
]


@pytest.mark.parametrize(("content", "message"), MISTAKES)
def test_a_file_that_is_not_python_is_refused_with_its_line(tmp_path, content, message):
    write_files(tmp_path, {"main.py": content, "other.py": "import main"})
    assert error_of(tmp_path / "main.py", "main.py") == message
    assert error_of(tmp_path / "other.py", "other.py") == message


def test_other_things_than_regular_python_files_are_refused(tmp_path):
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "device.py").symlink_to("/dev/zero")
    (tmp_path / "broken.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "notes.txt").write_text("")
    assert error_of(tmp_path / "missing.py", "missing.py") == "missing.py: No such file or directory"
    assert error_of(tmp_path / "broken.py", "broken.py") == "broken.py: No such file or directory"
    assert error_of(tmp_path, "here") == "here: is a folder, not a regular file"
    assert error_of(tmp_path / "folder.py", "folder.py") == "folder.py: is a folder, not a regular file"
    assert error_of(tmp_path / "device.py", "device.py") == "device.py: is a device, not a regular file"
    assert error_of(tmp_path / "pipe.py", "pipe.py") == "pipe.py: is a pipe, not a regular file"
    assert error_of(tmp_path / "notes.txt", "x.txt") == "x.txt: a plugin is a Python file, and its name ends in .py"
    assert "null" in error_of("a\0b.py")
    assert "printable" in error_of(write_files(tmp_path, {"a\nb.py": ""}) / "a\nb.py")


def test_a_link_to_a_file_is_followed_and_its_neighbours_are_those_of_the_link(tmp_path):
    write_files(tmp_path, {"there/main.py": "import a", "there/a.py": "1", "here/a.py": "2"})
    (tmp_path / "here" / "main.py").symlink_to(tmp_path / "there" / "main.py")
    assert bundle.read(tmp_path / "here" / "main.py").files["a.py"] == b"2"


def test_folders_that_link_to_themselves_end(tmp_path):
    write_files(tmp_path, {"main.py": "import p", "p/__init__.py": ""})
    (tmp_path / "p" / "again").symlink_to(tmp_path / "p")
    assert set(bundle.read(tmp_path / "main.py").files) == {"main.py", "p/__init__.py"}


@pytest.mark.parametrize("is_linked", [False, True])
@pytest.mark.parametrize("name", ["main.py", "a.py"])
def test_nothing_of_an_experiments_folder_is_read(tmp_path, name, is_linked):
    write_files(tmp_path, {"main.py": "import a", "a.py": "", "x/grid.toml": "", "x/sub/a.py": "", "x/sub/main.py": ""})
    (tmp_path / "x" / "parts").mkdir()
    if is_linked:
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(tmp_path / "x" / "sub" / name)
        message = error_of(tmp_path / "main.py")
    else:
        message = error_of(tmp_path / "x" / "sub" / name)
    assert name in message
    assert "the folder of an experiment" in message
    assert str(tmp_path / "x") in message


def test_the_files_together_have_limits(tmp_path):
    write_files(tmp_path, {"main.py": "import p", "p/__init__.py": ""})
    write_files(tmp_path, {f"p/m{n}.py": "" for n in range(999)})
    assert error_of(tmp_path / "main.py", "main.py") == (
        "main.py and what it imports from beside itself (now p): they are more than 1,000 files"
    )
    (tmp_path / "p" / "m0.py").unlink()
    assert len(bundle.read(tmp_path / "main.py").files) == 1000
    write_files(tmp_path, {f"p/m{n}.py": "#" * 1_000_000 for n in range(1, 12)})
    assert error_of(tmp_path / "main.py", "main.py").endswith("they have more than 10,000,000 bytes")


def test_nothing_is_executed_or_imported(tmp_path, capfd):
    write_files(tmp_path, {"main.py": "import a\nprint('run')\n'\\d'", "a.py": "print('run')\nimport antigravity"})
    before = set(sys.modules)
    bundle.read(tmp_path / "main.py")
    assert set(sys.modules) == before
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------------------------------------
# Digests

NAMES = st.sampled_from(["main.py", "a.py", "b.py", "p/__init__.py", "p/q.py"])
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=6), max_size=5)


@settings(max_examples=200)
@given(CONTENTS, CONTENTS, st.randoms())
def test_digests_are_equal_exactly_if_the_contents_are(first, second, random_order):
    first, second = {"main.py": b"", **first}, {"main.py": b"", **second}
    shuffled = list(first.items())
    random_order.shuffle(shuffled)
    digest = Bundle("x/main.py", "main.py", first).digest
    assert digest == Bundle("main.py", "main.py", dict(shuffled)).digest
    assert (digest == Bundle("main.py", "main.py", second).digest) == (first == second)


def test_the_name_of_the_main_file_counts_only_where_another_file_uses_it():
    def digest(main, helper):
        return Bundle(main, main, {main: b"import helper", "helper.py": helper}).digest

    assert digest("a.py", b"x = 1") == digest("b.py", b"x = 1")
    assert digest("a.py", b"import a") != digest("b.py", b"import a")


def test_any_change_of_a_file_that_is_imported_changes_the_digest(tmp_path):
    files = {"main.py": "import a\nimport p", "a.py": "x = 1", "p/__init__.py": "", "p/q.py": "y"}
    digests = {bundle.read(write_files(tmp_path, files) / "main.py").digest}
    for name, content in files.items():
        digests.add(bundle.read(write_files(tmp_path, {**files, name: content + " "}) / "main.py").digest)
    digests.add(bundle.read(write_files(tmp_path, {**files, "p/r.py": ""}) / "main.py").digest)
    assert len(digests) == 6
    (tmp_path / "p" / "r.py").unlink()
    write_files(tmp_path, {**files, "unrelated.py": "z"})
    assert bundle.read(tmp_path / "main.py").digest in digests


# ---------------------------------------------------------------------------------------------------------------------
# Bundles from JSON, which may be hostile

GOOD = {"path": "sub/main.py", "main": "main.py", "files": {"main.py": "x = 1", "p/q.py": ""}}
BAD = [
    *([], None, "x", {}, {"path": "p.py"}, {**GOOD, "more": 1}, {**GOOD, "path": 1}, {**GOOD, "main": None}),
    *({**GOOD, "files": files} for files in ([], {}, {"p/q.py": ""}, {"main.py": 1}, {"main.py": None})),
    *({**GOOD, "path": path} for path in ("a\nb.py", "\x1b", "x" * 3000, "\ud800")),
    *({**GOOD, "main": main} for main in ("other.py", "p/q.py", "", "..")),
    *(
        {**GOOD, "files": {"main.py": "", name: ""}}
        for name in (
            "../a.py",
            "/a.py",
            "a/../b.py",
            "./a.py",
            "a//b.py",
            "a",
            "a.txt",
            "C:\\a.py",
            "a\\b.py",
            "C:a.py",
        )
    ),
    *(
        {**GOOD, "files": {"main.py": "", name: ""}}
        for name in ("a\0.py", "a\n.py", "x" * 2000 + ".py", "\ud800.py", 1)
    ),
    {**GOOD, "files": {"main.py": "\ud800"}},
    {**GOOD, "files": {"main.py": "é" * 500_001}},
    {**GOOD, "files": {"main.py": "", **{f"m{n}.py": "" for n in range(1000)}}},
    {**GOOD, "files": {"main.py": "", **{f"m{n}.py": "#" * 1_000_000 for n in range(11)}}},
]


def test_a_bundle_from_json_is_as_it_was():
    code = Bundle.from_json(GOOD)
    assert code == Bundle("sub/main.py", "main.py", {"main.py": b"x = 1", "p/q.py": b""})


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_hostile_json_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        Bundle.from_json(value)


JSON = st.recursive(st.none() | st.text() | st.integers(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))


@settings(max_examples=50)
@given(st.sampled_from([*GOOD]), JSON | st.dictionaries(st.text(), st.text()))
def test_random_json_is_read_exactly_or_refused(key, value):
    document = {**GOOD, key: value}
    with contextlib.suppress(ValueError):
        assert Bundle.from_json(document).to_json() == document
