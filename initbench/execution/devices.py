"""What trains: the processor, or graphics processors that PyTorch can use, and how much memory they have."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

from initbench.errors import UserError
from initbench.system import children


@cache
def device_for(asked: str) -> str:
    """The device that trains, `cpu` or `cuda`; UserError if a graphics processor is asked for and cannot be used.

    `auto` takes one where PyTorch can use it. PyTorch is asked in a process of its own, and only where there is a
    driver: it takes a second to load.
    """
    if asked == "cpu" or (asked == "auto" and not _nvidia()):
        return "cpu"
    version, memories = _told_by_pytorch()
    if memories:
        return "cuda"
    if asked == "auto":
        return "cpu"
    raise UserError(
        f"device = 'cuda' cannot be used: PyTorch {version or '(which does not load)'} finds no GPU, or is a "
        "build without CUDA; allowed here: 'cpu' or 'auto'"
    )


def gpu_memories() -> tuple[int, ...]:
    """The bytes of memory of each graphics processor that PyTorch can use here; of those alone that
    CUDA_VISIBLE_DEVICES leaves."""
    return _told_by_pytorch()[1] if _nvidia() else ()


@cache
def _told_by_pytorch() -> tuple[str, tuple[int, ...]]:
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


def _nvidia() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()
