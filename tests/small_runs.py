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

MAX_TRAIN_SIZE, MAX_EPOCHS, MAX_SEEDS, MAX_SEEDS_OF_RULES = 640, 2, 3, 10


def changes(document: dict[str, Any]) -> dict[str, object]:
    """Return the settings that make the grid of a TOML document small; nothing if it is small already."""
    axes, training = document.get("grid", {}), document.get("training", {})
    small: dict[str, object] = {}
    epochs = axes.get("epochs", training.get("epochs", 10))
    if isinstance(epochs, list) or epochs > MAX_EPOCHS:
        small["epochs"] = MAX_EPOCHS
    is_own = any(not isinstance(name, str) or ":" in name for name in datasets(document))
    size = axes.get("train_size", training.get("train_size"))
    if not is_own and (not isinstance(size, int) or size > MAX_TRAIN_SIZE):
        small["train_size"] = MAX_TRAIN_SIZE
    match axes.get("seed", 5):
        case int(count) if count > MAX_SEEDS:
            small["seed"] = MAX_SEEDS
        case list(seeds) if len(seeds) > MAX_SEEDS:
            small["seed"] = seeds[:MAX_SEEDS]
        case {**rule} if rule.get("max", MAX_SEEDS_OF_RULES + 1) > max(rule.get("min", 0), MAX_SEEDS_OF_RULES):
            small["seed"] = {**rule, "max": max(rule.get("min", 0), MAX_SEEDS_OF_RULES)}
    return small


def datasets(document: dict[str, Any]) -> list[Any]:
    """Return the data sets of a TOML document."""
    values = document.get("grid", {}).get("dataset", document.get("dataset", "mnist"))
    return values if isinstance(values, list) else [values]


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


def command_line() -> None:
    """Run the command line `initbench` with small trainings."""
    install()
    from initbench.cli import main

    main()


class Page:
    """What the program of a page calls for its blocks that are no Python."""

    def __init__(self, file: str) -> None:
        self._blocks = json.loads(Path(file).read_text(encoding="utf-8"))
        install()

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
