"""initbench as its user has it: whole `initbench run`s and `initbench report`s, by the clock on the wall."""

import json
import subprocess
import sys
import time
from pathlib import Path

import initbench
from initbench.spec.grid import Grid

ROOT = Path(initbench.__file__).parent.parent


def command(*words: object) -> list[str]:
    """An initbench command, of the package that is imported here."""
    return [sys.executable, "-m", "initbench", *map(str, words)]


def run_command(grid: Grid, folder: Path) -> list[str]:
    """The command that runs a grid below an empty folder, where its file is written."""
    folder.mkdir(parents=True)
    file = folder / "grid.toml"
    file.write_text(grid.text, encoding="utf-8")
    return command("run", file, "--results", folder)


def seconds(words: list[str]) -> float:
    """How long a command takes; what it prints is shown if it fails."""
    start = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def seconds_in_workers(run: Path) -> float:
    """What the workers of a run say that their stacks took, spread over all workers."""
    stacks = [json.loads(path.read_bytes()) for path in (run / "timings").glob("[!.]*.json")]
    return sum(stack["seconds"] / stack["workers"] for stack in stacks)
