"""The step that a GPU records, without one: on PyTorch's `meta` device tensors have a shape, and no values.

A CUDA graph cannot record a tensor that comes from the CPU, nor a number that the CPU reads.
"""

import pytest
import torch
from cells import make_cell
from torch.utils._python_dispatch import TorchDispatchMode

from initbench.data import datasets
from initbench.execution import devices, start
from initbench.execution.config import ExecutionConfig
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.training import stack
from initbench.training.data import Data
from initbench.training.process import prepare_process

SOURCES = {"mnist": datasets.find("mnist")}

# Operations whose result's shape depends on values: the CPU would wait for the GPU.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "is_nonzero", "equal")


class Recorded(TorchDispatchMode):
    """Holds every operation to what a CUDA graph can record: tensors of one device alone, and no waiting for it."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in (*args, *(kwargs or {}).values(), result) if isinstance(x, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors} <= {"meta"}, func
        assert not any(name in str(func) for name in WAITS), func
        self.count += 1
        return result


def on_meta(cells, small, dtype=torch.float32):
    """Take a step of these cells, and evaluate them; returns how many operations a GPU records."""
    data = Data(small, "meta", cells[0].standardize)
    steps = stack.Steps(cells, data, dtype)
    with Recorded() as recorded:
        steps.counted_step()
    evaluated = steps.network.evaluate(data.validation[:2])
    assert {array.device.type for array in (*steps.network.weights, *evaluated)} == {"meta"}
    return recorded.count


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_gpu_records_a_step_without_the_cpu(small, optimizer, schedule):
    """Of every optimizer, with its weight decay, and with learning rates of each step."""
    decay = "weight_decay=0.01" if schedule == "cosine" else ""
    name = f"{optimizer}({decay})" if decay else optimizer
    cells = [
        make_cell(optimizer=name, lr_schedule=schedule, hidden="16-8", initializer=i) for i in ("zeros", "lecun_normal")
    ]
    assert on_meta(cells, small) > 20


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_gpu_records_every_activation_and_loss_without_the_cpu(small, precision):
    """In one stack, whose batches end within a block: their padding is zeroed."""
    names = [name for name, entry in ACTIVATIONS.items() if "hidden" in entry.tags]
    cells = [make_cell(activation=name, hidden="24-12", batch_size=50, precision=precision) for name in names]
    cells += [make_cell(loss=loss, hidden="24-12", batch_size=50, precision=precision) for loss in LOSSES]
    cells += [
        make_cell(output_activation=name, hidden="24-12", batch_size=50, precision=precision) for name in ACTIVATIONS
    ]
    assert on_meta(cells, small) > 150


def test_a_step_that_makes_a_number_on_the_cpu_is_found(small, monkeypatch):
    """What the tests above would find: a learning rate that is copied to the GPU, and a loss that is read."""
    cells = [make_cell(lr_schedule="cosine")]
    take = stack.Network.step
    for unrecordable in (
        lambda network, buffers, losses: losses.copy_(torch.ones(len(losses))),
        lambda network, buffers, losses: losses.fill_(float(losses[0])),
    ):
        monkeypatch.setattr(stack.Network, "step", lambda *arguments, f=unrecordable: (take(*arguments), f(*arguments)))
        with pytest.raises((AssertionError, RuntimeError)):
            on_meta(cells, small)


def test_products_and_convolutions_are_not_rounded_to_tf32_by_default():
    """PyTorch allows TF32 in convolutions by default."""
    torch.backends.cudnn.allow_tf32 = True
    prepare_process()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_gpu_is_used_only_where_it_is_requested_and_with_a_notice(monkeypatch):
    """A simulated GPU: until the path has been run on one, `auto` is the CPU."""
    devices.device_for.cache_clear()
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    monkeypatch.setattr(devices, "_pytorch_gpus", lambda: ("2.13", (8_000_000_000,)))
    monkeypatch.setattr(start, "ProcessPool", lambda count, device, first: device)
    monkeypatch.setattr(start, "gpu_memories", lambda: (8_000_000_000,))
    chosen = {}
    for requested in ("auto", "cuda", "cpu"):
        notices = []
        config = ExecutionConfig(device=requested)
        chosen[requested] = start.start_pool([make_cell()], SOURCES, config, notices.append), [n.line for n in notices]
    devices.device_for.cache_clear()
    assert chosen == {"auto": ("cpu", []), "cuda": ("cuda", [devices.EXPERIMENTAL]), "cpu": ("cpu", [])}
