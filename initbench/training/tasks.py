"""The tasks of a worker: measure, train, trace, compute signals. It imports PyTorch, which takes most of a start."""

import gc
import platform
import time
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

import initbench
from initbench.data.arrays import Arrays
from initbench.data.datasets import Source
from initbench.errors import PluginError, UserError
from initbench.initializers import schemes
from initbench.initializers.model import Parameters
from initbench.models.architecture import EVALUATION_BATCH
from initbench.registry import digests_in
from initbench.spec.cell import Cell
from initbench.spec.columns import METRICS
from initbench.system import compiled, threads
from initbench.system.hardware import cpu_name
from initbench.training import exactness, plain, plugins, skipping
from initbench.training.data import Data
from initbench.training.pace import Pace
from initbench.training.plain import Loop, PlainData
from initbench.training.process import prepare_process
from initbench.training.signal import record
from initbench.training.signal.statistics import Signal
from initbench.training.stack import Epoch, Steps, bits_hold, quickly_initialized, train
from initbench.training.trace import traced

# Data sets as trainers read them, by name, whether cells are fused, and whether images are standardized.
DataSets = dict[tuple[str, bool, bool], Data | PlainData]

# Sends a message of the named values.
Send = Callable[..., None]

# Returns the arrays of a source.
Load = Callable[[Source], Arrays]


def failure(error: BaseException) -> dict[str, Any]:
    """Return why a task failed: `lines` if it is a mistake that ends the training, otherwise `why` and `memory`."""
    if isinstance(error, UserError) and not isinstance(error, PluginError):
        return {"lines": error.lines}
    if not isinstance(error, PluginError):  # whose reason is complete
        traceback.print_exc()
    memory = _is_out_of_memory(error)
    return {"why": "out of memory" if memory else plugins.reason(error), "memory": memory}


def serve(
    task: dict[str, Any],
    data_sets: DataSets,
    exact: dict[Any, bool],
    send: Send,
    device: str,
    load: Load = lambda source: source.load(),
) -> None:
    """Do a task and send its messages; `data_sets` and `exact` keep what later tasks use again."""
    source = Source(**task["source"])
    cells = [Cell(*values) for values in task["cells"]]
    number = task["task"]
    plugins.prepare(task.get("plugins", ()), cells, source)
    prepare_process()
    form = source.name, cells[0].is_fused, cells[0].standardize
    if form not in data_sets:
        if any(name != source.name for name, *_ in data_sets):
            data_sets.clear()  # one data set at a time
        data_sets[form] = (Data if cells[0].is_fused else PlainData)(load(source), device, cells[0].standardize)
    data = data_sets[form]
    if task["action"] == "trace":
        trace = traced(cells[0], data, lambda epochs: send(event="progress", task=number, epochs=epochs))
        send(event="done", task=number, trace=trace, environment=environment(device))
        return
    if task["action"] == "signal":
        _compute_signals(task, cells, data, send, device)
        return
    if task["action"] == "train":
        _train(task, cells, data, exact, send, device)
        return
    measured = {"speed": _speed, "initialization": _initialization}[task["action"]](cells, data)
    send(event="done", task=number, **{task["action"]: measured})


def _compute_signals(task: dict[str, Any], cells: list[Cell], data: Data | PlainData, send: Send, device: str) -> None:
    start = time.perf_counter()

    def progress(share: float) -> None:
        send(event="progress", task=task["task"], epochs=share * cells[0].epochs)

    signals = record.initial(cells, data, task.get("full", False), progress)
    send(
        event="done",
        task=task["task"],
        signal=record.to_json([{0: signal} for signal in signals]),
        seconds=time.perf_counter() - start,
        environment=environment(device),
    )


def _train(
    task: dict[str, Any],
    cells: list[Cell],
    data: Data | PlainData,
    exact: dict[Any, bool],
    send: Send,
    device: str,
) -> None:
    number, source = task["task"], Source(**task["source"])
    start = progress_at = time.perf_counter()
    is_exact = _is_exact(cells, data, source, exact, device)

    initialization: dict[str, dict[str, float]] = {}
    repeats = plugins.Repeats()

    def initialized(cell: Cell, seconds: float, parameters: Parameters) -> None:
        total = initialization.setdefault(cell.initializer, {"cells": 0, "seconds": 0.0})
        total["cells"] += 1
        total["seconds"] = round(total["seconds"] + seconds, 6)
        repeats.add(cell, parameters)
        progress(0.0)

    pace: Pace | None = None  # of the stack as a whole

    def progress(epochs: float) -> None:
        nonlocal progress_at
        if time.perf_counter() - progress_at > 0.2:
            progress_at = time.perf_counter()
            send(event="progress", task=number, epochs=epochs, speed=pace and pace.speed)

    reasons: dict[str, None] = {}

    def outcomes(part: list[Cell]) -> list[tuple[list[list[float]], dict[int, Signal]]]:
        # Of each cell its metrics `[epoch][metric]`, and its signal by epoch.
        if isinstance(data, PlainData) and len(part) > 1:
            return [outcome for cell in part for outcome in outcomes([cell])]
        recorded = record.Record(part, data) if task.get("diagnostics") else None
        nonlocal pace
        timing = Pace(cells[0].steps_per_epoch, source.validation_size + source.test_size, progress)
        pace = timing if len(part) == len(cells) else None

        def noted(cell: Cell, seconds: float, parameters: Parameters) -> None:
            begin = time.perf_counter()
            initialized(cell, seconds, parameters)
            if recorded:
                recorded.start(parameters)
            slow = seconds if quickly_initialized(cell) != cell else 0.0
            timing.leave_out(slow + time.perf_counter() - begin)

        if isinstance(data, Data):
            network = recorded.stack if recorded else lambda network: None
            epochs = train(part, data, progress=timing.progress, initialized=noted, trained=network)
        else:
            loop = recorded.loop if recorded else lambda epoch, loop: None
            epochs = plain.train(part[0], data, progress=timing.progress, initialized=noted, examine=loop)
        metrics = _metrics(timing.timed(epochs, may_stop=isinstance(data, PlainData)))
        reasons.update(recorded.reasons if recorded else {})
        return list(zip(metrics, recorded.signals if recorded else [{}] * len(part), strict=True))

    trained = _in_available_memory(outcomes, cells)
    by_name = {
        name: [[metrics[epoch][m] for metrics, _ in trained] for epoch in range(cells[0].epochs + 1)]
        for m, name in enumerate(METRICS)
    }
    seconds = time.perf_counter() - start
    repeats.check(data)
    rate = _product_rate(device)
    send(
        event="done",
        task=number,
        metrics=by_name,
        exact=is_exact,
        seconds=seconds,
        speed=pace and pace.speed,
        initialization=initialization,
        product_rate=rate,
        notes=[*compiled.notes, *(f"signal: could not be computed: {reason}" for reason in reasons)],
        signal=record.to_json([signal for _, signal in trained]),
    )


def _is_exact(cells: list[Cell], data: Data | PlainData, source: Source, exact: dict[Any, bool], device: str) -> bool:
    """Return whether the cells' bits depend on nothing but their specifications; checked once for a kind of stack."""
    first, loops = cells[0], tuple(cell.loop for cell in cells)
    settings = first.hidden, first.batch_size, first.precision, first.standardize
    shape: tuple[Any, ...] = (*settings, source.name, loops)
    # The products of the first layer, which also depend on the length of the training and on the content of the data.
    if isinstance(data, Data):
        shape += (len(data.lit), skipping.serves(first, data))
    if shape not in exact:
        own = digests_in(source.function, *(name for cell in cells for name in cell.functions))
        kind = None if own or device != "cpu" else exactness.kind(shape, environment())
        exact[shape] = exactness.holds(kind, lambda: _are_exact(cells, data))
    return exact[shape]


def _metrics(epochs: Iterable[Epoch]) -> list[list[list[float]]]:
    """Return the metrics of the cells that train together, `[cell][epoch][metric]`."""
    rows = [[getattr(epoch, name).tolist() for name in METRICS] for epoch in epochs]
    return [[[values[i] for values in epoch] for epoch in rows] for i in range(len(rows[0][0]))]


def _are_exact(cells: list[Cell], data: Data | PlainData) -> bool:
    """Return whether the cells' bits depend on nothing but their specifications, as many at a time as memory allows."""
    return all(_in_available_memory(lambda part: [_bits_hold(part, data)] * len(part), cells))


def _bits_hold(cells: list[Cell], data: Data | PlainData) -> bool:
    """Return whether the cells' bits depend on nothing but their specifications."""
    if isinstance(data, Data):
        return bits_hold(cells, data)
    return all(plain.repeats(cell, data) for cell in cells)


def _in_available_memory(work: Callable[[list[Cell]], list[Any]], cells: list[Cell]) -> list[Any]:
    """Return the result of `work`, an entry for each cell; where memory is too small for all of them, in halves."""
    try:
        return work(cells)
    except (MemoryError, RuntimeError) as error:
        if len(cells) == 1 or not _is_out_of_memory(error):
            raise
    gc.collect()  # a network and its buffers may refer to each other, and hold a GPU's memory
    torch.cuda.empty_cache()
    middle = len(cells) // 2
    return _in_available_memory(work, cells[:middle]) + _in_available_memory(work, cells[middle:])


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory is too small; PyTorch's for CPU memory is a plain RuntimeError."""
    phrases = ("can't allocate memory", "not enough memory", "std::bad_alloc", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(phrase in str(error) for phrase in phrases)


@cache
def _product_rate(device: str) -> float:
    """Return the floating-point operations a second of a large product of float32 matrices, the best of three.

    Of 1024 × 1024 on a CPU, whose rate is that of 2048 × 2048, in an eighth of the time. It is measured once, while
    the other workers train, so that shared resources are in the figure.
    """
    size = 1024 if device == "cpu" else 2048
    A = torch.rand(size, size, device=device)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(A, A)[0, 0].item()  # reading the number waits for the GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


# How long a time is measured after a warm-up, in seconds, on how many images an evaluation, and of initializers that
# take hundreds of steps how many.
MEASURED_SECONDS, MEASURED_IMAGES, MEASURED_STEPS = 0.1, 4 * EVALUATION_BATCH, 4


def _speed(cells: list[Cell], data: Data | PlainData) -> dict[str, float]:
    """Return the seconds of a step of this stack, of the evaluation of an image, and of the start of a training.

    The cells of a stack that is not fused have one kind, and train one after the other.
    """
    cells = [quickly_initialized(cell) for cell in cells]
    if isinstance(data, PlainData):
        Loop(cells[0], data)  # the first of a process loads a second's worth of PyTorch
        begin = time.perf_counter()
        loop = Loop(cells[0], data)
        start = time.perf_counter() - begin
        split = plain.Split(*(array[:MEASURED_IMAGES] for array in data.test))
        evaluation = _mean_seconds(lambda: loop.evaluate(split)) / len(split.labels)  # before a step can diverge
        step = _mean_seconds(lambda: loop.take(4).finish()) / 4
        return {"step": step * len(cells), "evaluation": evaluation * len(cells), "start": start * len(cells)}
    begin = time.perf_counter()
    steps = Steps(cells, data)
    start = time.perf_counter() - begin
    step = _mean_seconds(lambda: steps.take(4).finish()) / 4
    blocks = data.test[: MEASURED_IMAGES // EVALUATION_BATCH]
    images = sum(len(block.images) for block in blocks)
    evaluation = _mean_seconds(lambda: [array.cpu() for array in steps.network.evaluate(blocks)]) / images
    return {"step": step, "evaluation": evaluation, "start": start}


def _initialization(cells: list[Cell], data: Data | PlainData) -> float:
    """Return the seconds that the initial weights of a cell take; a scheme of many steps is timed for a few of them."""
    initializer, factor = schemes.with_steps(cells[0].initializer, MEASURED_STEPS)
    cell, seconds = cells[0]._replace(initializer=initializer), 0.0
    for _ in range(2):  # the first time includes imports, and solutions that are then cached
        begin = time.perf_counter()
        plugins.parameters(cell, data)
        seconds = time.perf_counter() - begin
        if seconds > 1:
            break
    return factor * seconds


def _mean_seconds(work: Callable[[], object]) -> float:
    work()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < MEASURED_SECONDS:
        work()
        count += 1
    return (time.perf_counter() - begin) / count


def environment(device: str = "cpu") -> dict[str, str]:
    """Return the versions and the hardware that a result may depend on."""
    return {
        "initbench": initbench.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "blas": threads.blas(),
        "products": skipping.form(device),
        "device": "cpu" if device == "cpu" else f"cuda: {torch.cuda.get_device_name()}",
    }
