"""Optimizer steps: a stack of cells and the plain loop, on the same cells and machine; LeNet-5; and the signal."""

import time

from . import module

WIDTHS = {"784-10": [], "784-128-10": [128]}


def prepare():
    """Set the environment of a process that trains, before torch is imported; a benchmark without torch is skipped."""
    import importlib.util
    import os

    if not importlib.util.find_spec("torch"):
        raise NotImplementedError("training needs torch")
    os.environ.update(module("system.threads", "threads", "execute").ENVIRONMENT)


def prepared_stack(network, optimizer="sgd", learning_rate=0.1):
    """Return a stack's steps after the first, its cells, and the images and labels, in a process that is prepared."""
    prepare()
    datasets, plan, grid = (
        module(f"{p}.{m}", m) for p, m in (("data", "datasets"), ("execution", "plan"), ("spec", "grid"))
    )
    from initbench.training import data, process, stack

    process.prepare_process()
    text = f"""
        [grid]
        initializer = ["glorot_uniform", "he_normal", "lecun_normal"]
        activation = ["tanh", "relu"]
        loss = ["mse", "cross_entropy"]
        seed = 1
        [model]
        hidden = {WIDTHS[network]}
        output_activation = "same"
        [training]
        optimizer = "{optimizer}"
        learning_rate = {learning_rate}
    """
    parsed = grid.parse(text)
    arrays = datasets.load_mnist()
    cells = plan.plan(parsed.cells(), parsed.sources)[0].cells
    return stack.Steps(cells, data.Data(arrays)).take(1), cells, arrays


class Step:
    """Time of 20 steps: of one cell in the loop, of all its cells in the stack."""

    params = (sorted(WIDTHS),)
    param_names = ("network",)
    timeout = 300

    def setup(self, network):
        self.steps, self.cells, arrays = prepared_stack(network)
        import torch

        from initbench.training import plain

        cell = self.cells[0]
        loop = plain.Loop(cell, plain.PlainData(arrays))
        x = torch.from_numpy(arrays.train_images[: cell.batch_size]).float() / 255
        labels = torch.from_numpy(arrays.train_labels[: cell.batch_size]).long()
        self.loop = loop.model, loop.loss, loop.optimizer, x, labels
        self.descend = plain.descend

    def time_stack(self, network):
        self.steps.take(20)

    def time_plain_loop(self, network):
        for _ in range(20):
            self.descend(*self.loop)

    def track_loop_over_stack(self, network):
        """The time of a model's step in the loop relative to that in the stack, measured in turns."""
        loop, stack = _least_seconds(10, lambda: self.time_plain_loop(network), lambda: self.time_stack(network))
        return loop * len(self.cells) / stack

    track_loop_over_stack.unit = "times"


class Optimizers:
    """Time of 20 steps of a stack of 784-128-10 by each optimizer, and that relative to sgd, measured in turns."""

    params = (["adam", "adamw", "momentum", "nesterov", "rmsprop"],)
    param_names = ("optimizer",)
    timeout = 300

    def setup(self, optimizer):
        self.steps, *_ = prepared_stack("784-128-10", optimizer, 0.001)
        self.sgd, *_ = prepared_stack("784-128-10")

    def time_stack(self, optimizer):
        self.steps.take(20)

    def track_times_sgd(self, optimizer):
        its, sgd = _least_seconds(10, lambda: self.steps.take(20), lambda: self.sgd.take(20))
        return its / sgd

    track_times_sgd.unit = "times"


class Modules:
    """Time of 20 steps, and of an evaluation, of LeNet-5 in the plain loop; skipped where no model could be set."""

    timeout = 300

    def setup(self):
        prepare()
        from initbench.spec.cell import Cell

        if "model" not in getattr(Cell, "_field_defaults", {}):
            raise NotImplementedError("this version trains perceptrons only")
        from initbench.training import plain

        datasets = module("data.datasets", "datasets")
        self.data = plain.PlainData(datasets.load_mnist())
        self.loop = plain.Loop(Cell(model="lenet5", hidden=""), self.data).take(1)

    def time_steps(self):
        self.loop.take(20)

    def time_evaluation(self):
        self.loop.evaluate(self.data.validation)


class Signal:
    """Time of the signal of a trained cell, 784-128-10, before its training; skipped where it is not computed."""

    timeout = 300

    def setup(self):
        prepare()
        import importlib.util

        if not importlib.util.find_spec("initbench.spec.signal"):
            raise NotImplementedError("this version computes no signal")
        from initbench.spec.cell import Cell
        from initbench.training import data, parameters, process
        from initbench.training.signal import perceptron, record

        process.prepare_process()
        datasets = module("data.datasets", "datasets")
        read = data.Data(datasets.load_mnist())
        self.cell = Cell(hidden="128")
        self.parameters = parameters.initial_parameters(self.cell, self.cell.layers(784, 10), read.read)
        self.images, self.signal = record.images(self.cell, read), perceptron.signal

    def time_signal(self):
        self.signal(self.cell, len(self.parameters), self.parameters.__getitem__, self.images)


def _least_seconds(rounds, *functions):
    """The least seconds of each of these functions, called in turns."""
    seconds = [float("inf")] * len(functions)
    for _ in range(rounds):
        for n, function in enumerate(functions):
            start = time.perf_counter()
            function()
            seconds[n] = min(seconds[n], time.perf_counter() - start)
    return seconds
