"""Untrusted results are safe to open: nothing in them is run, unpickled, sent, or active on a page."""

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import untrusted
from watch import watched

import initbench as ib
from initbench.data import datasets
from initbench.errors import UserError
from initbench.initializers import INITIALIZERS
from initbench.plugins.bundle import Bundle
from initbench.reporting import terminal
from initbench.reporting.evidence import Evidence
from initbench.results import plugin_file
from initbench.results.experiment import Experiment
from initbench.results.plugin_file import Function, StoredPlugin
from initbench.results.table import csv_bytes
from initbench.spec import grid, gridfile
from initbench.system.cache import cache_folder

# As long as the others and with the same line breaks, but without characters that are active on a page.
PLAIN = tuple(re.sub(r"[^\w (/]", "x", payload) for payload in untrusted.PAYLOADS)
ADDRESSES = ("src", "href", "xlink:href", "action", "formaction", "srcset", "data", "poster", "background", "ping")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two experiments that differ only in strings: one is poisoned."""
    root = tmp_path_factory.mktemp("untrusted")
    return untrusted.poisoned(root / "poisoned"), untrusted.poisoned(root / "plain", PLAIN)


class Elements(HTMLParser):
    """The active content of a page: its elements and their attributes, addresses, scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.addresses, self.live, self._inside = Counter(), Counter(), [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self._inside = tag if tag in ("script", "style") else ""
        for name, value in attributes:
            self.attributes[tag, name] += 1
            if name in ADDRESSES:
                self.addresses.append(value)
        if tag == "script":
            self.live.append(dict(attributes).get("type") == "application/json" and "data")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "style" or (self._inside == "script" and not self.live[-1]):
            self.live.append(data)

    def handle_comment(self, data):
        self.tags["comment"] += 1


def quiet(work, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work(*arguments)


@pytest.mark.slow
def test_a_poisoned_report_has_the_elements_of_a_plain_one_and_no_other(folders):
    poisoned, plain = (Elements(quiet(ib.report, folder).read_text(encoding="utf-8")) for folder in folders)
    assert poisoned.tags == plain.tags
    assert poisoned.attributes == plain.attributes
    assert poisoned.live == plain.live  # the styles, and the one script that runs
    assert not any(name.startswith("on") for _, name in poisoned.attributes)
    assert poisoned.tags["script"] == 2
    assert all(
        address.startswith(("#", "data:application/", "data:image/png", "data:,")) for address in poisoned.addresses
    )
    assert len(poisoned.addresses) == len(plain.addresses) > 50
    text = (folders[0] / "report.html").read_text(encoding="utf-8")
    assert "window.pwned" in text  # the poison is there
    assert "49" not in re.findall(r"plain|\{\{ 7 \* 7 \}\}|49\$", text)  # and no template was filled twice
    assert "default-src 'none'" in text


def test_a_poisoned_comparison_has_the_elements_of_a_plain_one_and_no_other(folders, tmp_path):
    from initbench.api.outputs import changes
    from initbench.reporting import comparison

    pages = []
    for folder in folders:
        other = shutil.copytree(folder, tmp_path / f"{folder.parent.name}-other" / folder.name)
        for path in untrusted.part_files(other):
            rows = pq.read_table(path)
            index = rows.column_names.index("test_accuracy")
            halved = pc.divide(rows["test_accuracy"], 2.0)
            untrusted.replaced(path, untrusted.parquet(rows.set_column(index, rows.schema.field(index), halved)))
        table, before, after = changes(Experiment.open(folder), Experiment.open(other))
        pages.append(Elements(comparison.render(table, before, after, 0.5, "initbench compare")))
    poisoned, plain = pages
    assert poisoned.tags == plain.tags
    assert poisoned.attributes == plain.attributes
    assert poisoned.live == plain.live
    assert "script" not in poisoned.tags


def test_a_poisoned_experiment_is_shown_literally_in_the_terminal_and_in_tables(folders, capsys, tmp_path):
    run = Experiment.open(folders[0])
    frame = run.frame()
    terminal.summary_table(Evidence.of(frame, run.grid))
    assert "\x1b" not in capsys.readouterr().out
    from initbench.reporting import tables

    lines = tables.markdown(Evidence.of(frame, run.grid), "long").splitlines()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + 3 * 2 * 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in body} == {9}
    assert not re.search(r"(?<!\\)<", "".join(body))
    read = pd.read_csv(io.BytesIO(csv_bytes(frame)), keep_default_na=False)
    assert read["dataset"].tolist() == frame["dataset"].tolist()
    for column in read.select_dtypes("str"):
        assert not read[column].str.match(r"[=+@\t\r-]").any(), column


FORMULAS = (
    "=cmd|'calc'!A0", "+1", "-1", "@x", " =1+1", "  -1", "'=1", '"=1', ' "@x', "\uff1d1", "\uff0b1", "\uff0d1",
    "\uff20x", " \ufe621", "x;=1", "x,=1", "x|+1", 'x" =1', "x\uff1b@y", "x;",
)  # fmt: skip


@pytest.mark.parametrize("name", [*FORMULAS, *untrusted.UNPRINTABLE])
def test_a_data_set_name_that_a_terminal_or_a_spreadsheet_would_execute_is_rejected(name, tmp_path):
    fields = datasets.to_stored(datasets.find("mnist")) | {"folder": "/none/x"}
    datasets.from_stored({**fields, "name": "x@0123456789ab"})
    with pytest.raises(ValueError, match="not a valid data set"):
        datasets.from_stored({**fields, "name": f"{name}@0123456789ab"})
    with pytest.raises(UserError, match=r"given a folder named|not a valid path"):
        datasets.find({"idx": str(tmp_path / name)})


def test_other_data_set_names_are_accepted(tmp_path):
    for name in ("fashion-mnist", "fashion - mnist (2)", "c++", "a=b", "x@y", "größe, 2", "1-2"):
        with pytest.raises(UserError, match="no such folder"):
            datasets.find({"idx": str(tmp_path / name)})


def test_unprintable_metadata_are_escaped(tmp_path):
    folder = untrusted.made_run(tmp_path)
    path = untrusted.part_files(folder)[0]
    metadata = json.dumps({text: text for text in untrusted.UNPRINTABLE}).encode()
    untrusted.replaced(path, untrusted.parquet(pq.read_table(path), metadata))
    text = quiet(ib.report, folder).read_text(encoding="utf-8")
    assert r"\x1b]0;owned\x07" in text
    assert r"\u2028window" in text
    assert not set("\u2028\x1b\0\u202e\x07") & set(text)


# ---------------------------------------------------------------------------------------------------------------------
# Nothing is executed


def test_reading_and_reporting_an_untrusted_folder_runs_unpickles_and_sends_nothing(folders, tmp_path, hook):
    folder = shutil.copytree(folders[0], tmp_path / "strange")
    for name in ("__init__.py", "conftest.py", "sitecustomize.py", "numpy.py"):  # bait
        (folder / name).write_text("raise SystemExit('run')")
    (folder / "parts" / "x.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    plain = untrusted.made_run(tmp_path)
    ib.report(plain)  # what is imported late is imported now
    ib.compare(plain, plain)
    with watched() as events:
        ib.load(folder)
        ib.report(folder)
        ib.compare(folder, folders[0])
    written = [
        event for event in events if event[0] in ("open", "os.mkdir", "os.rename", "os.chmod", "tempfile.mkstemp")
    ]
    compiled = [event for event in events if event[0] in ("compile", "exec")]  # the page's template, pandas' tuples
    assert [event for event in events if event not in (*written, *compiled)] == []
    assert not any(word in event[1] for event in compiled for word in ("pwned", "SystemExit", "7 * 7"))
    assert written  # the watch sees
    own = str(folder), str(cache_folder())  # where it is recorded which reports were written
    assert [event for event in written if not any(map(" ".join(event).count, own)) and not event[1].isdigit()] == []


@pytest.fixture
def trapped(tmp_path):
    """An experiment's folder with own functions, in which every file of code leaves a mark when it is executed."""
    folder, mark = tmp_path / "made", tmp_path / "executed"
    trap = f"open({str(mark)!r}, 'w')\ndef mine(shape, *, seed=None):\n    open({str(mark)!r}, 'w')\n"
    bundle = Bundle("my_schemes.py", "my_schemes.py", {"my_schemes.py": trap.encode()})
    text = untrusted.GRID.replace('"he_normal"', f'"mine@{bundle.digest}"')
    assert untrusted.made_run(tmp_path, text) == folder
    function = Function("initializer", "mine", "mine", "A trap.")
    plugin_file.write(folder, {bundle.digest: StoredPlugin(bundle, (function,))})
    for name in ("my_schemes", "conftest", "__init__", "sitecustomize", "usercustomize", "numpy", "initbench"):
        (folder / f"{name}.py").write_text(trap)
    (folder / "grid.toml").write_text('plugins = ["my_schemes.py"]\n' + (folder / "grid.toml").read_text())
    return folder, mark


def test_no_code_in_an_experiments_folder_runs_when_it_is_read(trapped, tmp_path, monkeypatch):
    """Neither the stored code of plugins, nor a file that its grid names, nor one that Python would import there."""
    folder, mark = trapped
    monkeypatch.chdir(folder)
    ib.load(folder)
    assert ib.verify(folder, sample=0) == []
    ib.compare(folder, ".")
    ib.merge([folder], tmp_path / "both" / "made")
    assert json.loads((tmp_path / "both" / "made" / "plugins.json").read_text())
    assert not mark.exists()
    assert "mine" not in INITIALIZERS


def test_a_grid_in_an_experiments_folder_that_names_a_plugin_is_refused_for_a_run(trapped, monkeypatch):
    folder, mark = trapped
    monkeypatch.chdir(folder)
    for path in (folder, folder / "grid.toml", "grid.toml"):
        with pytest.raises(UserError, match=r"grid\.toml: plugins: .* give --plugin PATH"):
            grid.read(gridfile.find(path), allow=lambda *_: None)
    for name in ("my_schemes.py", folder / "conftest.py"):
        with pytest.raises(UserError, match="in the folder of an experiment"):
            grid.parse(untrusted.GRID, plugins=[name], allow=lambda *_: None)
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["report .", "verify . --sample 3", "figures .", "export . made.csv", "compare . .", "plan .", "run ."]
)
def test_no_command_runs_code_in_an_experiments_folder(trapped, command):
    folder, mark = trapped
    words = [sys.executable, "-P", "-m", "initbench", *command.split()]
    if command.startswith(("plan", "run")):
        words.append("--allow-plugins")
    done = subprocess.run(words, check=False, cwd=folder, capture_output=True, text=True)
    expected = {"plan": 2, "run": 2, "verify": 1}  # refused; and made-up results are not those of a training
    assert done.returncode == expected.get(command.split()[0], 0), done.stdout + done.stderr
    assert not mark.exists()


# Modules that unpickle, or run a string.
FORBIDDEN = {
    "pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "yaml", "jsonpickle", "runpy", "code",
    "codeop", "imp",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "read_pickle", "to_pickle", "unsafe_load", "literal_eval", "popen"}
# A function of this package's own is sent to a Dask cluster as code; nothing is read that way. What draws a report is
# a process that this one starts: each reads what the other pickled from a pipe, and never from a file.
SENT = [("connection.py", "cloudpickle"), ("drawers.py", "pickle"), ("drawing_process.py", "pickle")]
# The code of plugins, which the user allowed, is compiled and executed by their loader alone; `changes` compiles that
# of functions that the user's own program defined and passed, and evaluates their defaults again; and PyTorch's
# modules have a method of this name.
RUNS = [
    *(("plugins/loader.py", name) for name in ("exec", "compile", "__import__")),
    *(("plugins/changes.py", name) for name in ("compile", "eval")),
    *(
        (path, "eval")
        for path in ("training/plain.py", "training/signal/module.py", "models/network.py", "models/weights.py")
    ),
]
PACKAGE = Path(ib.__file__).parent


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_of_the_package_unpickles_or_runs_a_string(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = {name.name.partition(".")[0] for name in node.names}
            assert not [module for module in modules & FORBIDDEN if (path.name, module) not in SENT]
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").partition(".")[0]
            assert module not in FORBIDDEN or (path.name, module) in SENT
        if isinstance(node, ast.Call):
            owner, name = called(node.func)
            module = path.relative_to(PACKAGE).as_posix()
            assert name not in CALLS or owner == "re" or (module, name) in RUNS, (name, node.lineno)
            assert (owner, name) != ("os", "system")
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if (owner, name) in (("np", "load"), ("numpy", "load")):
                assert keywords["allow_pickle"].value is False
            assert (owner, name) != ("torch", "load")
            assert "shell" not in keywords


def called(function):
    """The name that is called, and what it is a name of."""
    if isinstance(function, ast.Attribute):
        return getattr(function.value, "id", ""), function.attr
    return "", getattr(function, "id", "")


def test_the_audit_hook_detects_every_kind_of_event(tmp_path, hook):
    import os
    import pickle

    with watched() as events:
        pickle.loads(b"cbuiltins\nlen\n.")
        exec("1")
        subprocess.run([sys.executable, "--version"], capture_output=True, check=True)
        os.mkdir(tmp_path / "x")
        (tmp_path / "y").write_text("")
    seen = {event[0] for event in events}
    assert {"pickle.find_class", "exec", "compile", "subprocess.Popen", "os.mkdir", "open"} <= seen


def test_an_untrusted_grid_is_never_evaluated(tmp_path):
    for text in ("__import__('os').system('touch owned')", "normal(std=__import__('os').getpid())", "{{ config }}"):
        with pytest.raises(UserError):
            grid.parse(f"[grid]\ninitializer = [{json.dumps(text)}]")
