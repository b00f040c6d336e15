"""Start-up: the time of a command before it does anything."""

import subprocess
import sys


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
