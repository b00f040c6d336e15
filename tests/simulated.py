"""A pool of workers in simulated time, whose stacks take what their width is worth: for tests of plans."""

import heapq
import itertools

from made_up import ENVIRONMENT, reply_to

from initbench.execution.pool import TaskLost, WorkerMessage
from initbench.spec.columns import SETTINGS

STEPS = SETTINGS.index("train_size"), SETTINGS.index("batch_size"), SETTINGS.index("epochs")


class Simulated:
    """Slots that train: `step` is the seconds of a step of a stack of this width.

    Slot 1 is free `late` seconds after the others. The task that is sent as number `dying` loses its worker at once.
    Its `events` are those of the nearest time.
    """

    device, processor, memory, allowed_deaths = "cpu", "simulated", 0.0, 3

    def __init__(self, slots, step, late=0.0, dying=None):
        self.slot_count, self.now, self.sent, self.ends = slots, 0.0, [], [0.0] * slots
        self.events, self._step, self._late, self._dying = self, step, late, dying
        self._busy, self._coming, self._numbers = set(), [], itertools.count()

    def free_slots(self):
        return [slot for slot in range(self.slot_count) if slot not in self._busy]

    def seconds(self, cells):
        """The seconds of a stack, which has no others than those of its steps."""
        size, batch, epochs = (cells[0][i] for i in STEPS)
        return epochs * (size // batch) * self._step(len(cells))

    def send(self, slot, task, request):
        cells = request["cells"]
        self.sent.append((request["action"], len(cells), slot))
        self._busy.add(slot)
        begin = self.now + self._late * (slot == 1 and self.ends[1] == 0)
        if len(self.sent) - 1 == self._dying:
            self._add(begin, slot, TaskLost(task, "its worker was lost"))
            return
        epochs, whole = cells[0][STEPS[2]], self.seconds(cells)
        speed = {"step": self._step(len(cells)), "evaluation": 0.0, "start": 0.0}
        for epoch in range(1, epochs + 1):
            message = {"event": "progress", "task": task, "epochs": epoch, "speed": speed}
            self._add(begin + whole * epoch / epochs, None, WorkerMessage(task, message))
        self.ends[slot] = begin + whole
        reply = {**reply_to(request), "seconds": whole, "speed": speed}
        self._add(begin + whole, slot, WorkerMessage(task, reply, ENVIRONMENT, "nowhere"))

    def _add(self, at, slot, event):
        heapq.heappush(self._coming, (at, next(self._numbers), slot, event))

    def get(self):
        self.now, _, slot, event = heapq.heappop(self._coming)
        self._busy.discard(slot)
        return event

    def announce_backlog(self, stacks):
        pass

    def shrink(self):
        return False
