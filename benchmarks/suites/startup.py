"""Whole commands: their time before they do anything, and what people wait for."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


class Startup:
    """Time of a whole process."""

    params = (["import initbench", "initbench --help", "initbench list", "initbench plan --help"],)
    param_names = ("command",)
    number, repeat, rounds, warmup_time = 1, (3, 10, 5.0), 2, 0

    def setup(self, command):
        words = {
            "import initbench": ["-c", "import initbench"],
            "initbench --help": ["-m", "initbench", "--help"],
            "initbench list": ["-m", "initbench", "list", "initializers"],
            "initbench plan --help": ["-m", "initbench", "plan", "--help"],
        }
        self.words = [sys.executable, *words[command]]
        self.time_command(command)  # the first call compiles Python's files

    def time_command(self, command):
        subprocess.run(self.words, check=True, stdout=subprocess.DEVNULL)


class Waiting:
    """The time of a whole command, and relative to what it cannot do without, in turns: those of benchmarks/waiting.py.

    Skipped in versions of initbench that lack what it needs.
    """

    params = (["help", "smoke", "report-72", "report-240"],)
    param_names = ("command",)
    timeout = 600
    repeats = 3

    def setup(self, name):
        root = str(Path(__file__).parents[2])
        if root not in sys.path:
            sys.path.append(root)  # the last place: initbench itself is the installed one
        try:
            from benchmarks import waiting
        except ImportError:
            raise NotImplementedError("this version lacks what the measurement needs") from None
        self.folder = tempfile.TemporaryDirectory()
        self.measure = waiting.WAITS[name].measure
        self.measure(Path(self.folder.name))  # the first one compiles, and trains what is reported

    def teardown(self, name):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def track_seconds(self, name):
        return statistics.median(measured.whole for measured in self._measured())

    def track_times_reference(self, name):
        """The ratio to `import typer`, `import torch` or `import seaborn`."""
        return statistics.median(measured.whole / measured.reference for measured in self._measured())

    def _measured(self):
        return [self.measure(Path(self.folder.name)) for _ in range(self.repeats)]

    track_seconds.unit = "s"
    track_times_reference.unit = "times"
