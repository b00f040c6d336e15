"""How fast a stack trains, timed while it does: the speed by which later stacks are planned."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np

from initbench.training.stack import Epoch


class Pace:
    """The speed of a training, from the calls of its trainer's `progress`, and the epochs that it yields.

    `images` are evaluated before the first epoch and after each, which has this many `steps`. The steps before an
    epoch's first call are left out: in the first epoch they load and compile. Of several epochs the medians count,
    because others may use the machine for a while. The start has all that precedes the first evaluation, less what
    `leave_out` was called with.
    """

    def __init__(self, steps: int, images: int, progress: Callable[[float], None]) -> None:
        self._steps, self._images, self._progress = steps, images, progress
        self._begin, self._left_out, self._first = time.perf_counter(), 0.0, 0.0
        self._calls: list[tuple[float, float]] = []  # in this epoch: the epochs done, and when
        self._step_seconds: list[float] = []
        self._evaluation_seconds: list[float] = []

    def leave_out(self, seconds: float) -> None:
        """Leave out seconds of the start that do not depend on the kind of the stack."""
        self._left_out += seconds

    def progress(self, epochs: float) -> None:
        """Receive the number of epochs done, and pass it on."""
        self._calls.append((epochs, time.perf_counter()))
        self._progress(epochs)

    def timed(self, epochs: Iterator[Epoch], may_stop: bool) -> Iterator[Epoch]:
        """Yield the epochs of a trainer. One that `may_stop` takes no steps after it has diverged, which count not."""
        begin = self._begin
        for epoch in epochs:
            now = time.perf_counter()
            if not self._calls:
                self._first = now - begin
            elif not may_stop or np.isfinite(epoch.validation_loss).all():
                (done, since), (next_done, _), (_, end) = self._calls[0], self._calls[1], self._calls[-1]
                steps = round(self._steps * (1 - (next_done - done)))  # after the first call
                self._step_seconds.append((end - since) / steps if steps else (end - begin) / self._steps)
                self._evaluation_seconds.append((now - end) / self._images)
            self._calls.clear()
            yield epoch
            begin = time.perf_counter()

    @property
    def speed(self) -> dict[str, float] | None:
        """The seconds of a step, of the evaluation of an image, and of the start: see `Speed`; None if unknown yet."""
        if not self._step_seconds:
            return None
        evaluation = median(self._evaluation_seconds)
        start = max(0.0, self._first - self._left_out - self._images * evaluation)
        return {"step": median(self._step_seconds), "evaluation": evaluation, "start": start}
