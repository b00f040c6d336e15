"""From Python: `run`, `load`, `report`, `figures`, `compare`, `merge`, `verify`; the command line without the shell."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from initbench.errors import UserError, nearest, printable, shown
from initbench.execution.config import ExecutionConfig, check_backend, device_in
from initbench.results import store
from initbench.results.experiment import Experiment, train_all
from initbench.spec.grid import Grid, read
from initbench.spec.gridfile import results_for
from initbench.system import files

if TYPE_CHECKING:
    import pandas as pd

    from initbench.reporting.comparison import Side

# What `figures` writes.
FORMS = ("svg", "pdf", "png")


def run(
    grid: str | Path | Grid,
    *,
    results: str | Path | None = None,
    workers: int | None = None,
    width: int | None = None,
    scheduler: str | None = None,
    processor: str = "",
    overrides: Mapping[str, object] | None = None,
) -> "pd.DataFrame":
    """Train a grid and give its tidy table; what is trained already is not trained again.

    Training runs in processes of its own, so that this may be called from a notebook, whatever was imported before.

    Parameters
    ----------
    grid
        The path of a grid file, or a `Grid` (from `initbench.spec.grid.parse`).
    results
        The folder that holds the run's folder; default `results` in the working directory. For the `grid.toml` in a
        run's folder it is the folder around that one: the run goes on.
    workers
        How many processes train; default one for each core. On a cluster: how many stacks train at a time, at most.
    width
        How many cells train together at most; default what this machine trains fastest. It changes no result.
    scheduler
        Of a Dask cluster that trains instead of this machine: `tcp://host:8786`, `file://scheduler.json`, or `local`
        for one on this machine. Needs `initbench[cluster]`.
    processor
        Of the cluster's workers take those alone whose processor has this in its name.
    overrides
        Settings to replace: `{"seed": 10, "epochs": 3}`; also `{"device": "cpu"}`.

    Returns
    -------
    DataFrame
        One row for each cell and epoch: the settings, `cell`, `status`, `epoch`, and the metrics; as of `load`.

    Raises
    ------
    UserError
        With a line for each mistake in the grid; if another process writes in the run's folder.
    WorkerDied
        If training processes do not start, or train nothing. A cell that no worker can train is left out, with a
        warning. What is finished is kept.
    CannotWrite
        An OSError, if the disk is full, say. What is finished is kept.

    Examples
    --------
    >>> import initbench as ib
    >>> frame = ib.run("grid.toml", overrides={"seed": 10})  # doctest: +SKIP
    """
    if isinstance(grid, Grid):
        if overrides:
            raise UserError("overrides are for a grid file: give its path, or put them into the Grid")
        results = results or "results"
    else:
        path = Path(grid)
        grid = read(path, overrides)
        results = results or results_for(path, grid.name)
    config = ExecutionConfig(workers, width, scheduler, processor, device_in(grid))
    check_backend(config)
    with Experiment.writing(grid, Path(results)) as made:
        _told(made, None)  # what is known before hours of training
        failed = train_all(made, made.missing(), config, lambda event: None)
        made.notes += [f"{made.folder}: {event.cell.described} failed and is left out: {event.why}" for event in failed]
        return _told(made, made.frame())


def load(folder: str | Path) -> "pd.DataFrame":
    """The tidy table of a run's folder: the cells of its grid, in the grid's order, by epoch.

    Its columns are `str`, `int64` and `float64`. In a table of more than a million rows text is categorical and whole
    numbers are `int32` where they fit, so that a million cells of ten epochs take 1.1 GB and not 3.3.

    Raises UserError if the folder holds no run.

    Examples
    --------
    >>> import initbench as ib
    >>> frame = ib.load("results/keepcoding")  # doctest: +SKIP
    """
    run = Experiment.open(folder)
    return _told(run, run.frame())


def report(folder: str | Path) -> Path:
    """Make the report of a run's folder; returns its path, `report.html` in the folder.

    Raises UserError if the folder holds no run.
    """
    run = Experiment.open(folder)
    return _told(run, write_report(run, *run.read()))


def figures(folder: str | Path, form: str = "svg", into: str | Path | None = None) -> list[Path]:
    """Write the report's figures as files for a paper; returns their paths.

    They depend on no settings of matplotlib, and leave yours as they are.

    Parameters
    ----------
    folder
        The run's folder.
    form
        `svg` (letters as outlines), `pdf` (fonts embedded) or `png` (300 dots an inch).
    into
        Where to; default `figures` in the run's folder. It is made if it is not there.

    Raises UserError if the folder holds no run, or nothing of it is trained.
    """
    run = Experiment.open(folder)
    return _told(run, write_figures(run, form, into))


def write_figures(run: Experiment, form: str, into: str | Path | None = None) -> list[Path]:
    """The work of `figures`."""
    if form not in FORMS:
        raise UserError(f"format = {shown(form)} is not allowed; allowed: {', '.join(FORMS)}{nearest(form, FORMS)}")
    folder = Path(into) if into else store.own_folder(run.folder, "figures")
    frame = run.frame()
    if frame.empty:
        raise UserError(f"{run.folder}: no cell of this run is trained yet, so there is nothing to draw; run it first")
    from initbench.reporting.evidence import Evidence
    from initbench.reporting.figures import Look, save, undrawable
    from initbench.reporting.gallery import gallery, slug

    evidence = Evidence.of(frame, run.grid)
    if len(evidence.shown) < len(evidence.combinations):
        run.notes.append(f"figures are of the first {len(evidence.shown)} of {len(evidence.combinations)} combinations")
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[Path, bytes] = {}
    look = Look.of(evidence.initializers)
    boxes: set[str] = set()
    for drawn in gallery(evidence, look):
        name, path = slug(drawn), folder / f"{slug(drawn)}.{form}"
        while path in contents:  # long names that are cut alike
            name += "-again"
            path = folder / f"{name}.{form}"
        contents[path] = save(drawn.drawing, look, form)
        boxes |= undrawable(drawn.drawing)
    if not into:
        store.list_figures(run.folder, {path.name: content for path, content in contents.items()})
    for path, content in contents.items():
        files.write_file(path, content)
    if boxes:
        run.notes.append(
            f"figures: no font of this machine has {' '.join(sorted(boxes))}, so boxes are drawn in their place; "
            "install a font that has them, such as Noto, and write the figures again"
        )
    return list(contents)


def compare(before: str | Path, after: str | Path) -> "pd.DataFrame":
    """What changed from one run to another, for each setting that both have: see `stats.changes`.

    Raises UserError if a folder holds no run, or the two have no cell in common.

    Examples
    --------
    >>> import initbench as ib
    >>> table = ib.compare("main/results/keepcoding", "branch/results/keepcoding")  # doctest: +SKIP
    >>> table[table["significant"]]  # doctest: +SKIP
    """
    runs = [Experiment.open(folder) for folder in (before, after)]
    table = changed(*runs)[0]
    for run in runs:
        _told(run, None)
    return table


def changed(before: Experiment, after: Experiment) -> tuple["pd.DataFrame", "Side", "Side"]:
    """The work of `compare`: `stats.changes`, and what the report of it has to know of the two runs."""
    from initbench import stats
    from initbench.reporting.comparison import Side
    from initbench.reporting.evidence import chances

    frames, sides = [], []
    for run in (before, after):
        frame, environments = run.read()
        if frame.empty:
            raise UserError(f"{run.folder}: no cell of this run is trained yet, so there is nothing to compare; run it")
        frames.append(frame)
        sides.append(Side(run.grid.name, frame["cell"].nunique(), environments))
    table = stats.changes(frames[0], frames[1], chance={**chances(before.grid), **chances(after.grid)})
    if table.empty:
        raise UserError(
            f"{before.folder} and {after.folder}: have no cell in common; allowed: runs of one grid, or of grids that "
            "overlap in all settings, the seed too"
        )
    if sides[0].name == sides[1].name:  # runs of one grid: told apart by their folders
        sides = [
            replace(side, name=printable(str(run.folder))) for side, run in zip(sides, (before, after), strict=True)
        ]
    return table, sides[0], sides[1]


def merge(folders: Sequence[str | Path], into: str | Path) -> "pd.DataFrame":
    """Join runs into a new folder, each cell once; returns its tidy table.

    A cell that differs between runs is kept as the first of them has it, with a warning.

    Raises UserError if a folder holds no run, or `into` is not empty.
    """
    from initbench.results.merge import merge_experiments

    run, lines = merge_experiments([Path(folder) for folder in folders], Path(into))
    run.notes += lines
    return _told(run, run.frame())


def verify(folder: str | Path, sample: int = 10, seed: int = 0, *, workers: int | None = None) -> list[str]:
    """Check a run's folder, and train some of its cells again to see that their bits are the same.

    Every part's checksum and columns are checked, that its cells are what their ids say, and that its rows can be a
    training's. A cell that was trained on another kind of processor, or with other versions, may have other bits, which
    is no fault. Nothing in the folder is changed.

    Parameters
    ----------
    folder
        The run's folder.
    sample
        How many of its cells are trained again, chosen at random; 0 for none.
    seed
        Which ones: the same seed chooses the same. (The command line takes another one each time.)
    workers
        How many processes train; default one for each core.

    Returns
    -------
    list of str
        A line for each thing that is wrong; empty if the run is sound.

    Raises UserError if the folder holds no run.
    """
    from initbench.results.verify import check, retrain

    for name, value in (("sample", sample), ("seed", seed)):
        if type(value) is not int or value < 0:
            raise UserError(f"{name} = {shown(value)} is not allowed; allowed: an integer from 0 up")
    run = Experiment.open(folder)
    checked = check(run)
    # Not the device that the grid names: this machine may lack it.
    return checked.problems + retrain(run, checked, sample, seed, ExecutionConfig(workers)).problems


def take_notes(experiment: Experiment) -> list[str]:
    """Return the cautions about an experiment's data sets and its notes; later calls return only new lines."""
    from initbench.reporting.cautions import cautions

    return experiment.take_notes(cautions(experiment.grid.sources.values()))


Result = TypeVar("Result")


def _told(run: Experiment, result: Result) -> Result:
    """The result, after a warning for each thing about the run that its user should know, once."""
    for line in take_notes(run):
        warnings.warn(line, stacklevel=3)
    return result


def write_report(run: Experiment, frame: "pd.DataFrame", environments: Iterable[Mapping[str, str]]) -> Path:
    """Make the report of a run from what `Experiment.read` gives, and write it to its folder; its path."""
    from initbench.reporting.page import render

    timings = store.read_timings(run.folder, run.notes)
    page = render(frame, run.grid, environments, f"initbench run {run.grid.name}.toml", timings)
    path = run.folder / "report.html"
    files.write_file(path, page.encode())
    return path
