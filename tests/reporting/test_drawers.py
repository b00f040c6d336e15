"""Figures that processes of their own draw: the same page, the same errors, and no report lost with a process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import seaborn as sns
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from initbench.api import outputs
from initbench.initializers._base import TruncatedNormal
from initbench.reporting import drawers
from initbench.reporting.figures.direct import _ascending
from initbench.reporting.figures.style import WHITE_GRID
from initbench.reporting.palette import Palette
from initbench.results.experiment import Experiment
from initbench.stats._across import _ranked
from initbench.system import children, threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


@pytest.fixture
def two_cores(monkeypatch):
    """Two processes that draw, although matplotlib is imported here; returns those that were started."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    monkeypatch.setattr(drawers, "is_imported", lambda: False)
    processes, start = [], children.start

    def record(*words, **more):
        processes.append(start(*words, **more))
        return processes[-1]

    monkeypatch.setattr(children, "start", record)
    return processes


def pages(copied):
    """The pages of an experiment, drawn by processes, and then in this one."""
    experiment = Experiment.open(copied)
    frame, environments = experiment.read()
    with drawers.started() as drawer:
        outputs.write_report(experiment, frame, environments, drawer=drawer)
    drawn = Path(copied, "report.html").read_bytes()
    outputs.write_report(experiment, frame, environments, drawer=drawers.Drawer())
    return drawn, Path(copied, "report.html").read_bytes()


@linux
@pytest.mark.slow
def test_the_page_is_the_same_and_an_error_too(copied, two_cores, monkeypatch):
    drawn, here = pages(copied)
    assert drawn == here
    assert b"<svg" in drawn
    assert len(two_cores) == 1
    assert two_cores[0].poll() == -signal.SIGKILL
    with drawers.started() as drawer:
        collects = [drawer.submit("save", "no drawing", "svg") for _ in range(4)]
        for collect in collects:
            with pytest.raises(AttributeError, match="'str' object has no attribute 'canvas'"):
                collect()
        palette = Palette.of(["a", "b"])
        drawer.submit("warm_up")()
        os.killpg(two_cores[-1].pid, signal.SIGKILL)
        monkeypatch.setattr(drawers, "draw_here", lambda function, arguments: ("here", function, arguments))
        assert [drawer.submit("inline", palette)() for _ in range(3)] == [("here", "inline", (palette,))] * 3


@pytest.mark.slow
def test_a_report_imports_neither_matplotlib_nor_scipy_stats_here_and_its_processes_no_seaborn(copied):
    """What is imported is what people wait for."""
    (Path(copied) / "report.html").unlink(missing_ok=True)
    code = f"""
import sys
from initbench.system import threads
threads.available_cores = lambda: 2
from initbench.api import outputs
from initbench.results.experiment import Experiment
outputs.report(Experiment.open({str(copied)!r}))
print([name for name in ("matplotlib", "seaborn", "scipy.stats", "torch") if name in sys.modules])
from initbench.reporting import figures
print([name for name in ("seaborn", "scipy.stats", "torch") if name in sys.modules])
"""
    process = children.start("-c", code, stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0].splitlines() == ["[]", "[]"]


def test_what_replaces_a_slow_import_computes_the_same():
    for count in (11, 30):
        palette = Palette.of([str(i) for i in range(count)])
        assert list(palette.light.values()) == sns.husl_palette(count, s=0.9, l=0.5).as_hex()
        assert list(palette.dark.values()) == sns.husl_palette(count, s=0.9, l=0.75).as_hex()
    whitegrid = sns.axes_style("whitegrid")
    assert {name: whitegrid[name] for name in WHITE_GRID} == WHITE_GRID
    rng = np.random.default_rng(0)
    for shape in ((5, 4), (6, 3, 7)):
        values = rng.integers(0, 4, shape).astype(float)
        np.testing.assert_array_equal(_ranked(values), rankdata(values, axis=0))
    for count in range(1, 20):
        values = rng.normal(size=count)
        np.testing.assert_allclose(_ascending(values), isotonic_regression(values).x, atol=1e-14)
    for bounds in ((-2, 2), (-1, 3), (-0.1, 0.1), (-np.inf, 2), (1, 3)):
        weights = TruncatedNormal(0.3, 2.0, *bounds)
        np.testing.assert_allclose(weights.moments(), weights.frozen().stats("mv"), rtol=1e-9)
