"""Verify and merge the folders of experiments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from initbench.api import rounds
from initbench.errors import UserError, shown
from initbench.execution.config import LOCAL, ExecutionConfig, check_backend
from initbench.results.experiment import Experiment
from initbench.results.merge import merge_experiments
from initbench.results.verify import CheckResult, RetrainResult, check, retrain


@dataclass(frozen=True)
class Verification:
    """The result of `verify`: of the files, and of the retrained cells; None if no cell could be retrained."""

    checked: CheckResult
    retrained: RetrainResult | None

    @property
    def problems(self) -> list[str]:
        """A line for each thing that is wrong."""
        return self.checked.problems + (self.retrained.problems if self.retrained else [])

    @property
    def reproduced(self) -> bool:
        """Whether cells were retrained, and all have the same bits."""
        return self.retrained is not None and self.retrained.same == self.retrained.sampled > 0


def verify(
    experiment: Experiment,
    sample: int,
    seed: int,
    config: ExecutionConfig = LOCAL,
    on_checked: Callable[[CheckResult], None] = lambda checked: None,
) -> Verification:
    """Check an experiment's files, and retrain `sample` of its cells, chosen by `seed`.

    `on_checked` receives the result for the files before cells are retrained.
    """
    for name, value in (("sample", sample), ("seed", seed)):
        if type(value) is not int or value < 0:
            raise UserError(f"{name} = {shown(value)} is not allowed; allowed: an integer from 0 up")
    check_backend(config)
    checked = check(experiment)
    on_checked(checked)
    if not sample or len(checked.cells) == checked.earlier:  # of an earlier training version, which is not here
        return Verification(checked, None)
    return Verification(checked, retrain(experiment, checked, sample, seed, config))


@dataclass(frozen=True)
class Merged:
    """A merged experiment, and a line for each cell that differs between the experiments that were merged."""

    experiment: Experiment
    notes: Sequence[str]

    @property
    def n_trained(self) -> int:
        """The number of trained cells."""
        return len(self.experiment) - len(self.experiment.missing())


def merge(folders: Sequence[str | Path], into: str | Path) -> Merged:
    """Merge experiments into a new folder, each cell once; a cell that differs is kept as the first of them has it."""
    experiment, notes = merge_experiments([Path(folder) for folder in folders], Path(into))
    rounds.update(experiment)
    return Merged(experiment, notes)
