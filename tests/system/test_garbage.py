"""The program looks for garbage rarely; a process in which initbench is a library does so as before."""

import subprocess
import sys


def printed(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_library_leaves_the_threshold_alone():
    code = "import gc, initbench; initbench.run; import initbench.cli; print(gc.get_threshold())"
    assert printed(code) == printed("import gc; print(gc.get_threshold())")


def test_the_program_looks_now_and_then_and_not_at_its_end():
    # What is registered first is called last.
    code = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000))
class Circle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        found.add(True)
found = set()
from initbench.system import garbage
garbage.look_rarely()
made = [Circle() for _ in range(2_000)] and None
print(bool(found))
[Circle() for _ in range(2 * garbage.NEW_OBJECTS)] and None
print(bool(found))
"""
    assert printed(code) == "False\nTrue\nTrue\n"
