"""How the package starts a child process: Python in a folder of ours, with an environment of ours.

A child imports nothing from the user's working directory, which may be a stranger's, reads no library's configuration
there, and no variable of the user's changes its bits. All children are started here, and in no other way.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).absolute().parents[1]

# These variables choose a library's instructions, its threads or its precision: they change the bits of a result, and
# nothing else. MKL_CBWR is set by `threads.ENVIRONMENT`.
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

# With these a child would wait for a person at its end, or stop at a library's warning.
INTERACTIVE = frozenset({"PYTHONINSPECT", "PYTHONWARNINGS"})

# Of numba's variables only this one is kept: NumPy then draws the weights, with the same bits.
NUMBA_KEPT = "NUMBA_DISABLE_JIT"


def start(*arguments: str, variables: Mapping[str, str] | None = None, **options: Any) -> "subprocess.Popen[Any]":
    """Start `python ARGUMENTS`; `variables` go into its environment, `options` to `subprocess.Popen`."""
    return subprocess.Popen(
        [sys.executable, "-P", *arguments], cwd=PACKAGE, env=environment(variables or {}), **options
    )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: the user's, without what could change its code or its bits, and `variables`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in CHANGE_BITS | INTERACTIVE and (not name.startswith("NUMBA_") or name == NUMBA_KEPT)
    }
    # The package is found where it was found here. Python takes an empty or a relative entry for one below the working
    # directory.
    user_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [str(PACKAGE.parent), *(entry for entry in user_path if os.path.isabs(entry))]
    return {**kept, **variables, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
