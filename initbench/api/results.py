"""The result of an experiment: its table, and its answers in a few lines, as a page of a notebook, in figures."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from initbench.api import outputs
from initbench.errors import UserError, nearest, shown
from initbench.results.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

    from initbench.reporting.evidence import Evidence
    from initbench.reporting.figures import Drawing


@dataclass(frozen=True)
class Figure:
    """A figure of the report, with its title: `Result.figure` returns it, and a notebook shows it.

    Attributes
    ----------
    name
        The name of its file, without the ending: that of `ib.figures`.
    alternative
        What it shows, in words.
    """

    name: str
    alternative: str
    _drawing: "Drawing" = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write it as a file, whose name ends in .svg, .pdf or .png; returns its path.

        `ib.figures` writes all figures, in the widths and letters of a paper or of slides.
        """
        path = Path(path)
        if path.suffix[1:] not in outputs.FORMS:
            raise UserError(f"{path}: the name ends in {shown(path.suffix)}; allowed: .svg, .pdf or .png")
        outputs.write(path, self._bytes(path.suffix[1:]))
        return path

    def _bytes(self, form: str) -> bytes:
        from initbench.reporting.figures import save

        return save(self._drawing, form)

    def _repr_svg_(self) -> str:
        return self._bytes("svg").decode()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        from initbench.reporting.figures import save

        width, height = self._drawing.size
        return save(self._drawing, "png", dpi=144), {"width": width, "height": height}


class Result:
    """The result of an experiment: `ib.run` and `ib.result` return it.

    A notebook shows its answer and its main figure, and `print` the answer in a few lines.

    Attributes
    ----------
    frame
        The tidy table, as `ib.load` returns it: a row for each cell and epoch.
    signal
        The signal in its networks, as `ib.load_signal` returns it: a row for each cell, epoch, layer and statistic.
    folder
        The experiment's folder.

    Examples
    --------
    >>> import initbench as ib
    >>> result = ib.run({"initializer": ["he_normal", "glorot_uniform"], "epochs": 2})  # doctest: +SKIP
    >>> result.verdicts()[["initializer", "mean_all", "difference", "significant"]]  # doctest: +SKIP
    >>> result.figure().save("accuracy.svg")  # doctest: +SKIP
    """

    def __init__(self, experiment: Experiment, frame: "pd.DataFrame") -> None:
        self._experiment, self.frame = replace(experiment, writes=False, writer=None), frame

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self._experiment.folder

    @cached_property
    def signal(self) -> "pd.DataFrame":
        """The signal in the experiment's networks, as `ib.load_signal` returns it."""
        return self._experiment.signal()

    def verdicts(self) -> "pd.DataFrame":
        """Return the comparison of the initializers: a row for each initializer of each combination.

        It is `ib.stats.verdicts` of the table, within all settings that vary but initializer and seed, with what the
        grid declares equivalent; with a rule that adds seeds, its comparisons that hold at every look. Names are those
        of `frame`.

        Raises UserError if no cell is trained.
        """
        outputs.refuse_empty(self.frame, self._experiment, "compare")
        from initbench.reporting.evidence import verdicts

        return verdicts(self.frame, self._experiment.grid)

    def report(self) -> Path:
        """Write the report, `report.html` in the experiment's folder; returns its path."""
        return outputs.report(self._experiment).path

    def figure(self, name: str | None = None) -> Figure:
        """Return a figure of the report.

        Parameters
        ----------
        name
            The name of its file as `ib.figures` writes it, without the ending, such as `accuracy-relu-cross_entropy`.
            Default: the report's first figure, on which the answer rests.

        Raises UserError with the allowed names if there is no such figure, or if no cell is trained.
        """
        outputs.refuse_empty(self.frame, self._experiment, "draw")
        from initbench.reporting.figures import titled
        from initbench.reporting.gallery import named_gallery
        from initbench.reporting.palette import Palette

        names = []
        for own_name, figure in named_gallery(self._evidence, Palette.of(self._evidence.initializers)):
            if name in (None, own_name):
                drawing = figure.figure.draw()
                return Figure(own_name, drawing.alternative, titled(drawing))
            names.append(own_name)
        raise UserError(
            f"figure = {shown(name)} is not allowed; allowed: {', '.join(names)}{nearest(str(name), names)}"
        )

    @cached_property
    def _evidence(self) -> "Evidence":
        return outputs.trained_evidence(self._experiment, self.frame)

    def __repr__(self) -> str:
        from initbench.reporting import notebook

        return notebook.text(self._experiment, self._answered)

    def _repr_html_(self) -> str:
        from initbench.reporting import notebook

        return notebook.html(self._experiment, self._answered)

    @property
    def _answered(self) -> "Evidence | None":
        return None if self.frame.empty else self._evidence
