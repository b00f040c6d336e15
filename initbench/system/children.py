"""Start child processes: Python in the package's folder, with an environment of its own.

A child imports nothing from the working directory, which is untrusted, and reads no library's configuration there; no
environment variable changes its bits. Every child process is started here.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).absolute().parents[1]

# These variables select a library's instructions, threads or precision, and so change the bits of a result.
# `threads.ENVIRONMENT` sets MKL_CBWR.
CHANGE_BITS = frozenset(
    {
        "ATEN_CPU_CAPABILITY",
        "DNNL_DEFAULT_FPMATH_MODE",
        "DNNL_MAX_CPU_ISA",
        "MKL_DEBUG_CPU_TYPE",
        "MKL_DOMAIN_NUM_THREADS",
        "MKL_ENABLE_INSTRUCTIONS",
        "NPY_DISABLE_CPU_FEATURES",
        "NPY_ENABLE_CPU_FEATURES",
        "NVIDIA_TF32_OVERRIDE",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "ONEDNN_MAX_CPU_ISA",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    }
)

# With these a child would wait for input at its end, or stop at a library's warning.
INTERACTIVE = frozenset({"PYTHONINSPECT", "PYTHONWARNINGS"})

# The only variable of numba that is passed on: with it NumPy draws the weights, with the same bits.
NUMBA_PASSED = "NUMBA_DISABLE_JIT"


def start(*arguments: str, variables: Mapping[str, str] | None = None, **options: Any) -> "subprocess.Popen[Any]":
    """Start `python ARGUMENTS`; `variables` go into its environment, `options` to `subprocess.Popen`."""
    return subprocess.Popen(
        [sys.executable, "-P", *arguments], cwd=PACKAGE, env=environment(variables or {}), **options
    )


def fork() -> bool:
    """Fork this process, a child with one thread; returns whether this is the new process. On Linux only."""
    return os.fork() == 0


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment without what could change a child's code or bits, and with `variables`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in CHANGE_BITS | INTERACTIVE and (not name.startswith("NUMBA_") or name == NUMBA_PASSED)
    }
    # The child imports this package. Empty and relative entries would refer to the working directory.
    user_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [str(PACKAGE.parent), *(entry for entry in user_path if os.path.isabs(entry))]
    own = {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}  # one order of a set
    return {**inherited, **variables, **own}
