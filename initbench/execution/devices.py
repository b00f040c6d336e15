"""Devices that train: the CPU, or the GPUs that PyTorch can use, and their memory."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

from initbench.errors import UserError
from initbench.system import children

# Whether `make gpu` has passed on a GPU. Until then `auto` is the CPU, and `cuda` is followed by a notice.
GPU_WAS_RUN = False
EXPERIMENTAL = "training on a GPU is experimental: it has not been run on one yet; `make gpu` compares it with the CPU"


@cache
def device_for(requested: str) -> str:
    """Return the device that trains, `cpu` or `cuda`, for a request of `auto`, `cpu` or `cuda`.

    `auto` is a GPU where PyTorch can use one, once `GPU_WAS_RUN`. PyTorch is loaded in a process of its own, and only
    where there is a driver: it takes a second. Raises UserError if a GPU is requested and cannot be used.
    """
    if requested == "cpu" or (requested == "auto" and not (GPU_WAS_RUN and _has_driver())):
        return "cpu"
    version, memories = _pytorch_gpus()
    if memories:
        return "cuda"
    if requested == "auto":
        return "cpu"
    raise UserError(
        f"device = 'cuda' cannot be used: PyTorch {version or '(which does not load)'} finds no GPU, or is a "
        "build without CUDA; allowed here: 'cpu' or 'auto'"
    )


def gpu_memories() -> tuple[int, ...]:
    """Return the bytes of memory of each GPU that PyTorch can use here: of those in CUDA_VISIBLE_DEVICES, if set."""
    return _pytorch_gpus()[1] if _has_driver() else ()


@cache
def _pytorch_gpus() -> tuple[str, tuple[int, ...]]:
    """Return PyTorch's version, and the bytes of memory of each GPU that it can use."""
    code = (
        "import json, torch; c = torch.cuda; n = c.device_count() if c.is_available() else 0; "
        "print(json.dumps([torch.__version__, [c.get_device_properties(i).total_memory for i in range(n)]]))"
    )
    process = children.start("-c", code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    printed = process.communicate()[0]
    try:
        version, memories = json.loads(printed)
    except ValueError:
        return "", ()
    return version, tuple(memories)


def _has_driver() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()
