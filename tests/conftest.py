"""What the tests share: MNIST whole and cut small, disks that can be full, and a watch over what a program does."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

from initbench.system.threads import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before NumPy and torch are imported, which read it once

import hypothesis
import pytest
import torch
import watch
from plugin_code import small_grid

# A shell ignores Ctrl-C for what it starts in the background, and so would the runs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import initbench as ib
from initbench.data import datasets
from initbench.data.arrays import Arrays
from initbench.errors import UserError
from initbench.spec import grid
from initbench.training import process

# A loaded machine generates examples slowly, and that is not a failure.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    of_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if of_gpu and not torch.cuda.is_available():
        for item in of_gpu:
            item.add_marker(pytest.mark.skip(reason="no GPU that PyTorch can use"))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    process.prepare_process()


@pytest.fixture(scope="session")
def mnist():
    return datasets.load_mnist()


@pytest.fixture(scope="session")
def small(mnist):
    """The first 1,500 training and 300 test images of MNIST."""
    return Arrays(
        mnist.train_images[:6000],
        mnist.train_labels[:6000],
        mnist.test_images[:1000],
        mnist.test_labels[:1000],
        shape=mnist.shape,
    )


@pytest.fixture
def kind(request):
    """Whose functions an experiment has, `built-in` or of a `plugin`; `plugin_code.both_kinds` parametrizes it."""
    return getattr(request, "param", "built-in")


@pytest.fixture
def grid_file(kind, tmp_path):
    return small_grid(tmp_path, kind)


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a disk of memory with these options, or mounts it anew."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options):
        mounting = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], capture_output=True, text=True, check=False
        )
        if mounting.returncode:
            pytest.skip(f"no disk can be mounted here: {mounting.stderr.strip()}")
        return disk

    if not shutil.which("mount"):
        pytest.skip("there is no mount")
    yield mount
    subprocess.run(["umount", str(disk)], capture_output=True, check=False)


@pytest.fixture(scope="session")
def hook():
    """Python's own watch, which is never taken away; after what is imported late was imported."""
    import tomlkit  # noqa: F401

    from initbench.initializers import INITIALIZERS

    for name in INITIALIZERS:
        for activation in ("tanh", "elu"):
            text = f"[grid]\ninitializer = {name!r}\n[model]\nactivation = {activation!r}\nhidden = [8, 8]"
            with suppress(UserError):
                grid.parse(text)
    sys.addaudithook(watch.heard)


@pytest.fixture(scope="session")
def experiments(tmp_path_factory):
    """A function that returns the folder and the table of a small experiment of a kind, trained once."""

    @functools.cache
    def experiment(kind):
        root = tmp_path_factory.mktemp("trained")
        path = small_grid(root, kind)
        frame = ib.run(path, results=root / "results", workers=1, allow_plugins=True).frame
        return root / "results" / "small", frame

    return experiment


@pytest.fixture
def trained(kind, experiments):
    """A small experiment that tests only read: its folder, and its table; `copied` is for changes."""
    return experiments(kind)


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the small experiment that a test may damage."""
    return shutil.copytree(trained[0], tmp_path / "small")


@pytest.fixture
def without_figures(monkeypatch):
    """Reports without their figures, which take nearly all of the time."""
    monkeypatch.setattr("initbench.reporting.page.gallery", lambda *_: iter(()))


@pytest.fixture(scope="session")
def chromium():
    """One browser for all pages."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()
