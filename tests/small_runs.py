"""What makes the trainings of the documentation small, and runs the blocks of a page.

tests/docs/test_code_blocks.py describes it. It is imported by the programs that the test starts, not by the test.
"""

import contextlib
import doctest
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TRAIN_SIZE, MAX_EPOCHS, MAX_SEEDS, MAX_SEEDS_OF_RULES = 660, 1, 2, 10

# Commands that train, with what they get in addition.
OPTIONS = {
    "run": ["--no-report", "--workers", "1"],
    "try": ["--no-report", "--workers", "1"],
    "signal": ["--workers", "1"],
}


def changes(document: dict[str, Any]) -> dict[str, object]:
    """Return the settings that make the grid of a TOML document small; nothing if it is small already."""
    axes, training = document.get("grid", {}), document.get("training", {})
    small: dict[str, object] = {}
    epochs = axes.get("epochs", training.get("epochs", 10))
    if isinstance(epochs, list) or epochs > MAX_EPOCHS:
        small["epochs"] = MAX_EPOCHS
    data = axes.get("dataset", document.get("dataset", "mnist"))
    replaced = [small_data(value) for value in data] if isinstance(data, list) else small_data(data)
    if replaced != data:
        small["dataset"] = replaced
        for section in ({"train_size"} & set(axes), {"train_size"} & set(training)):
            small |= dict.fromkeys(section, TRAIN_SIZE)
    if not os.environ["SMALL_SIGNAL"] and document.get("diagnostics", True):
        small["diagnostics"] = False
    match axes.get("seed", 5):
        case int(count) if count > MAX_SEEDS:
            small["seed"] = MAX_SEEDS
        case list(seeds) if len(seeds) > MAX_SEEDS:
            small["seed"] = seeds[:MAX_SEEDS]
        case {**rule} if rule.get("max", MAX_SEEDS_OF_RULES + 1) > max(rule.get("min", 0), MAX_SEEDS_OF_RULES):
            small["seed"] = {**rule, "max": max(rule.get("min", 0), MAX_SEEDS_OF_RULES)}
    return small


def small_data(value: Any) -> Any:
    """Return the file of a few images in place of the name of a data set; files and functions are returned as given."""
    if not isinstance(value, str) or ":" in value or "@" in value:
        return value
    file = Path(os.environ["SMALL_DATA"]) / f"{value}.npz"
    if not file.exists():
        write_data(file)
    return {"npz": str(file)}


def write_data(file: Path) -> None:
    """Write the first images of MNIST to a file, whatever its name."""
    import numpy as np

    from initbench.data import datasets

    mnist = datasets.load_mnist()
    arrays = {
        "x_train": mnist.train_images[: TRAIN_SIZE + TRAIN_SIZE // 11],
        "y_train": mnist.train_labels[: TRAIN_SIZE + TRAIN_SIZE // 11],
        "x_test": mnist.test_images[:200],
        "y_test": mnist.test_labels[:200],
    }
    shapes = {name: (-1, 28, 28) if name.startswith("x") else (-1,) for name in arrays}
    np.savez(file, **{name: array.reshape(shapes[name]) for name, array in arrays.items()})


def install() -> None:
    """Make every grid that this process reads small, and take permission to run plugins as given."""
    from initbench.plugins import consent
    from initbench.spec import gridfile

    full = gridfile.document

    def document(text: str, origin: str, overrides: Any = None) -> tuple[str, dict[str, Any]]:
        text, content = full(text, origin, overrides)
        return full(text, origin, small) if (small := changes(content)) else (text, content)

    gridfile.document = document
    consent.ask = consent.allow


def install_chance() -> None:
    """Let `ib.stats` know the chance level of the few images in place of MNIST, as it does MNIST's."""
    from initbench.stats import _outcomes
    from initbench.stats.chance import MNIST

    full = _outcomes.chance_levels

    def chance_levels(frame: Any, chance: Any) -> Any:
        small = [str(name) for name in frame["dataset"].unique() if str(name).startswith("mnist@")]
        return full(frame, dict.fromkeys(small, MNIST) | dict(chance or {}))

    for module in list(sys.modules.values()):
        if getattr(module, "chance_levels", None) is full:
            module.chance_levels = chance_levels  # type: ignore[attr-defined]


def command_line() -> None:
    """Run the command line `initbench` with small trainings."""
    install()
    sys.argv += OPTIONS.get((sys.argv[1:] or [""])[0], [])
    from initbench.cli import main

    main()


class Page:
    """What the program of a page calls for its blocks that are no Python."""

    def __init__(self, file: str, has_statistics: bool) -> None:
        self._blocks = json.loads(Path(file).read_text(encoding="utf-8"))
        install()
        if has_statistics:
            install_chance()

    def write(self, index: int) -> None:
        """Write the file that a block shows."""
        path = Path(self._blocks[index]["title"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._blocks[index]["code"], encoding="utf-8")

    def doctest(self, index: int, names: dict[str, Any]) -> None:
        """Run the examples of a block with the page's names; SystemExit if one prints something else than it shows."""
        block = self._blocks[index]
        test = doctest.DocTestParser().get_doctest(block["code"], names, block["name"], block["name"], 0)
        runner = doctest.DocTestRunner()
        runner.run(test, clear_globs=False)
        names.update(test.globs)
        if runner.failures:
            raise SystemExit(f"{block['name']}: {runner.failures} of {runner.tries} examples print something else")

    def shell(self, index: int) -> None:
        """Run the commands of a block; SystemExit if one of them fails, or the last one has another exit status."""
        block = self._blocks[index]
        sys.stdout.flush()
        command = ["bash", "-e", "-o", "pipefail", "-c", block["code"]]
        with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as running:
            status = running.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)  # what it started in the background
        if status != block["status"]:
            raise SystemExit(f"{block['name']}: exit status {status}, not {block['status']}")
