"""The settings of a process that trains, which a user's function may have changed."""

import numpy as np
import torch


def prepare_process() -> None:
    """Set what is part of the training semantics: one thread, denormal numbers flushed to zero, and usual defaults.

    Denormals (below 10⁻³⁸) change nothing that is measured, and slow a saturated network's products tenfold. The
    defaults are those that a process starts with: a plugin that sets others would change the bits of other cells.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # of convolutions on a GPU: PyTorch's default rounds them to TF32
    torch.set_deterministic_debug_mode("default")  # `use_deterministic_algorithms` imports a compiler, for 1.4 s
    np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
