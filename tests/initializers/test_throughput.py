"""`initbench bench` and asv's suites: that every library does the same work, and that the gate sees it."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.suites import samplers
from initbench import initializers
from initbench.cli import main
from initbench.errors import WorkerDied
from initbench.initializers import throughput

ROOT = Path(__file__).parents[2]
SHAPE = (300, 200)
FIXED = {"identity", "constant"}


def needs(library):
    missing = library != throughput.OURS and not importlib.util.find_spec(library)
    return pytest.param(
        library,
        marks=pytest.mark.skipif(missing, reason=f"{library} is not installed: pip install -e '.[dev-libraries]'"),
    )


@pytest.mark.parametrize("library", [needs(name) for name in throughput.LIBRARIES if name != throughput.OURS])
def test_a_library_makes_what_it_is_compared_with(library, monkeypatch):
    """The same distribution up to its scale, new arrays of float32 (SciPy: float64) of the requested shape."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    torch.manual_seed(0)
    calls = throughput.LIBRARIES[library]()
    assert set(calls) <= set(throughput.SCHEMES)
    for scheme, call in calls.items():
        first, second = (np.asarray(call(SHAPE)) for _ in range(2))
        ours = initializers.INITIALIZERS[scheme].function(SHAPE, seed=1)
        assert first.shape == second.shape == SHAPE
        assert first.dtype == (np.float64 if library == "scipy" else np.float32)
        assert not np.shares_memory(first, second)
        if scheme == "identity":
            assert np.array_equal(first, ours)
        elif scheme == "constant":
            assert (first == 0.5).all()
        else:
            scaled_theirs, scaled_ours = ((x - x.mean()) / x.std() for x in (first.ravel(), ours.ravel()))
            if scheme == "torch_sparse":
                assert abs((first == 0).mean() - (ours == 0).mean()) < 0.01
            else:
                assert stats.ks_2samp(scaled_theirs, scaled_ours).pvalue > 1e-4
        if library != "jax" and scheme not in FIXED:  # its key is given
            assert not np.array_equal(first, second)


def test_all_schemes_are_compared_with_some_library_where_all_are_installed():
    if missing := set(throughput.LIBRARIES) - set(throughput.installed()):
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    others = {scheme for name, calls in throughput.LIBRARIES.items() if name != throughput.OURS for scheme in calls()}
    assert others == set(throughput.SCHEMES)


def run(capfd, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["initbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    out, err = capfd.readouterr()
    return ended.value.code, out, err


@pytest.mark.slow
def test_the_table_has_a_line_for_each_scheme_and_shape_and_its_ratio_is_of_the_fastest(capfd, monkeypatch):
    monkeypatch.setattr(throughput, "installed", lambda: ["initbench", "numpy", "scipy"])
    code, out, _ = run(capfd, "bench", "--shape", "30,20", "--shape", "64,8", "--scheme", "normal")
    lines = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in out.splitlines() if "|" in line]
    assert code == 0
    assert lines[0] == ["scheme", "shape", "initbench", "weights per second", "numpy", "scipy", "fastest other"]
    assert [line[:2] for line in lines[2:]] == [["normal", "30 × 20"], ["normal", "64 × 8"]]
    for line in lines[2:]:
        ours, rate, numpy, scipy = (float(line[n].partition("·")[0]) for n in (2, 3, 4, 5))
        # All are printed rounded: the times to three digits, the rate and the last ratio to hundredths.
        assert rate == pytest.approx(1 / ours, abs=0.0051 + 0.006 / ours)
        assert float(line[6].partition("×")[0]) == pytest.approx(min(numpy, scipy) / ours, rel=0.02, abs=0.0051)
        for field, theirs in ((line[4], numpy), (line[5], scipy)):
            assert float(field.partition("·")[2].strip(" ×")) == pytest.approx(theirs / ours, rel=0.02)
    assert "Not installed: torch, jax, keras" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheme", "normel"], "--scheme normel: allowed: uniform, normal, .*; did you mean 'normal'"),
        (["--shape", "3,x"], "--shape 3,x: allowed: integers separated by commas"),
        (["--shape", "3"], "--shape 3: allowed: two integers"),
        (["--shape", "100000,100000"], "--shape 100000,100000: allowed: each size from 1 up, and at most"),
        (["--cores", "4096"], r"--cores 4096: allowed: from 1 to \d+, the cores of this machine"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(capfd, arguments, message):
    code, _, err = run(capfd, "bench", *arguments)
    assert code == 2
    assert re.match(message, err)
    assert err.count("\n") == 1


def test_a_library_that_fails_is_reported_and_left_out(capfd, monkeypatch):
    monkeypatch.setattr(throughput, "installed", lambda: ["initbench", "nothing of this name", "numpy"])
    code, out, _ = run(capfd, "bench", "--shape", "30,20", "--scheme", "normal")
    (line,) = [line for line in out.splitlines() if line.startswith("| normal")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert code == 0
    assert cells[4] == ""
    assert cells[5].endswith("×")
    assert "Left out, since it failed: nothing of this name: KeyError: 'nothing of this name'" in out


def test_initbench_itself_must_not_break(monkeypatch):
    monkeypatch.setattr(throughput, "OURS", "nothing of this name")
    monkeypatch.setattr(throughput, "installed", lambda: ["nothing of this name"])
    with pytest.raises(WorkerDied, match="KeyError"):
        list(throughput.measure([(3, 2)], schemes=["normal"], rounds=1))


# ---------------------------------------------------------------------------------------------------------------------
# asv


def gate():
    (expression,) = re.findall(r"^QUICK = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return expression.replace("$$", "$")


def test_the_gate_is_every_distribution_at_every_shape_on_one_thread_and_times_alone():
    def named(kind, suite, **methods):
        names = [
            f"samplers.{suite.__name__}.{kind}_{method}({name!r}, {shape!r}, {threads!r})"
            for method in methods
            for name in suite.params[0]
            for shape in suite.params[1]
            for threads in (1, 2)
        ]
        return {name for name in names if re.search(gate(), name)}

    chosen = named("time", samplers.Distributions, fill=0)
    assert len(chosen) == len(samplers.DISTRIBUTIONS) * len(samplers.SHAPES)
    assert all(name.endswith(", 1)") for name in chosen)
    assert not named("track", samplers.Distributions, nanoseconds_a_weight=0)
    assert not named("peakmem", samplers.Distributions, fill=0)
    assert not named("time", samplers.Schemes, fill=0)


def test_the_workflow_and_the_documents_name_the_same_gate():
    factor = re.search(r"^FACTOR = (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    for path in (".github/workflows/ci.yml", "docs/explanation/performance.md"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert gate() in text, path
        assert f"--factor {factor}" in text, path


def test_every_single_layer_initializer_that_fits_is_measured():
    fitting = {n for n, e in initializers.INITIALIZERS.items() if "single-layer" in e.tags and e.fit.test((2, 2))}
    assert set(samplers.DISTRIBUTIONS) | set(samplers.FITTING) == fitting
    assert not set(samplers.DISTRIBUTIONS) & set(samplers.FITTING)
    assert list(samplers.SHAPES.values()) == list(throughput.SHAPES) == [(768, 10), (784, 256), (4096, 4096)]


def test_asvs_environments_have_the_versions_of_the_constraints():
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    pinned = {name.lower(): version for name, version in pinned.items()}
    for name in ("asv.conf.json", "asv.quick.json"):
        text = re.sub(r"^\s*//.*$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        for package, versions in json.loads(text)["matrix"]["req"].items():
            assert versions == [pinned[package.lower()]], (name, package)


def test_the_suites_import_nothing_heavy():
    """Where only NumPy, SciPy and numba are installed all of them can be imported, and the samplers measured."""
    import subprocess
    import sys

    code = (
        "import sys\n"
        "heavy = {'torch', 'pandas', 'pydantic', 'jax', 'pyarrow', 'matplotlib', 'typer'}\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"
        "from benchmarks.suites import bookkeeping, samplers, startup, training\n"
        "suite = samplers.Distributions()\n"
        "suite.setup('orthogonal', '768x10', 1)\n"
        "suite.time_fill('orthogonal', '768x10', 1)\n"
        "print(suite.track_nanoseconds_a_weight('normal', '768x10', 1) > 0)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.strip() == "True"
