"""initbench from Python: `run`, `result`, `load`, `report`, `figures`, `compare`, `merge`, `verify`, `script`, …"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from initbench.api import cells, outputs, rounds, signals, training
from initbench.api import folders as managed
from initbench.api.grids import grid_of
from initbench.api.outputs import write_report
from initbench.api.progress import display_for, each_round
from initbench.api.results import Result
from initbench.errors import UserError, shown
from initbench.execution.config import ExecutionConfig, device_in
from initbench.plugins import consent, describe
from initbench.results.experiment import Experiment
from initbench.spec.grid import Grid
from initbench.spec.signal import SPECTRA

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Result",
    "compare",
    "figures",
    "load",
    "load_signal",
    "merge",
    "report",
    "result",
    "run",
    "script",
    "signal",
    "take_notes",
    "trace",
    "verify",
    "write_report",
]


def run(
    grid: str | Path | Mapping[str, object] | Grid,
    *,
    results: str | Path | None = None,
    workers: int | None = None,
    width: int | None = None,
    scheduler: str | None = None,
    processor: str = "",
    overrides: Mapping[str, object] | None = None,
    progress: bool | None = None,
    allow_plugins: bool = False,
) -> Result:
    """Train a grid's missing cells and return its result.

    With a rule for its seeds (`seed = { until = "decided" }`), cells are trained until the rule ends.

    Training runs in processes of its own, so it can be called from a notebook, whatever was imported before.

    Parameters
    ----------
    grid
        A dict with the settings of a grid file: `{"initializer": ["he_normal", "orthogonal"], "activation": "relu"}`.
        A list is an axis, also a tuple, a range or an array; `hidden` is a list of widths, or as an axis a list of such
        lists. Where it names an initializer, an activation, a loss or an optimizer, a function or class of your own may
        stand (see `ib.initializer`), with parameters as `{"name": my_function, "gain": 1.3}`. The experiment's name is
        `experiment`, unless the dict has another `name`.

        Or the path of a grid file; or the name of a preset (`initbench list presets`), if there is no such file; or a
        `Grid` (from `initbench.spec.grid.parse`). An experiment's folder stands for its `grid.toml`.
    results
        The folder that holds the experiment's folder; default `results` in the working directory. For the `grid.toml`
        in an experiment's folder, default the folder around that one, so that the experiment continues.
    workers
        The maximum number of stacks that train at a time; default one per CPU core or GPU, or all that a cluster has.
    width
        The maximum number of cells in a stack; default the fastest on this machine. It changes no result.
    scheduler
        A Dask cluster that trains instead of this machine: `tcp://host:8786`, `file://scheduler.json`, or `local` for
        one on this machine. Requires Dask: `pip install 'initbench[cluster]'`.
    processor
        Use only cluster workers whose CPU has this in its name.
    overrides
        Settings to replace, as in a dict: `{"seed": 10, "epochs": 3}` or `{"seed": {"until": "decided"}}`; also
        `{"device": "cpu"}`.
    progress
        Whether to show how far the training is and the time left: a bar in a terminal, a line in a notebook. Default:
        if standard output is a terminal or a notebook. Elsewhere, True prints a line to standard error every ten
        seconds. False prints nothing.
    allow_plugins
        Whether the code of the files that the grid names as `plugins` may run. Functions and classes that are given
        need no permission.

    Returns
    -------
    Result
        Its `frame` is the tidy table: one row for each cell and epoch, with the settings, `cell`, `status`, `epoch`,
        and the metrics. `verdicts()`, `figure()` and `report()` are its comparisons, figures and report. A notebook
        shows its answer.

    Raises
    ------
    UserError
        With a line for each mistake in the grid; if another process writes to the experiment's folder.
    WorkerDied
        If training processes do not start, or train nothing. A cell that no worker can train is left out, with a
        warning. Finished stacks are stored.
    CannotWrite
        An OSError, for example if the disk is full. Finished stacks are stored.

    Examples
    --------
    >>> import initbench as ib
    >>> result = ib.run("keepcoding", overrides={"seed": 10})  # doctest: +SKIP
    >>> result.frame  # doctest: +SKIP
    >>> def halved(shape, *, gain: float = 0.5, seed=None, dtype="float32"):
    ...     return gain * ib.initializers.he_normal(shape, seed=seed, dtype=dtype)
    >>> ib.run({"initializer": ["he_normal", halved], "hidden": [128], "epochs": 2})  # doctest: +SKIP
    """
    grid, folder = grid_of(grid, overrides, Path(results) if results else None, allow_plugins=allow_plugins)

    def warn_at_start(event: training.Started | training.Looked) -> None:
        if isinstance(event, training.Started):
            _warn(event.experiment, stacklevel=7)  # before hours of training

    config = ExecutionConfig(workers, width, scheduler, processor, device_in(grid))
    with each_round(display_for(progress), warn_at_start) as on_event:
        trained = training.train(grid, folder, config, on_event)
    experiment = trained.experiment
    experiment.notes += [
        f"{experiment.folder}: {untrained.cell.label} could not be trained and is left out: {untrained.why}"
        for untrained in trained.untrained
    ]
    if (state := experiment.rounds) and (state.open or state.refused):
        from initbench.reporting import seeds

        experiment.notes.append(f"{experiment.folder}: {seeds.looked(state)}")
    _warn(experiment)
    assert trained.frame is not None
    return Result(experiment, trained.frame)


def signal(
    grid: str | Path | Mapping[str, object] | Grid,
    *,
    results: str | Path | None = None,
    workers: int | None = None,
    overrides: Mapping[str, object] | None = None,
    spectra: str = "auto",
    progress: bool | None = None,
    allow_plugins: bool = False,
) -> "pd.DataFrame":
    """Compute the signal in a grid's networks before training, and return it; nothing is trained.

    Only cells whose signal is not stored are computed; `run` of the same grid continues in the same folder. The layers
    of perceptrons are computed one by one, and those of large networks are not kept.

    Parameters
    ----------
    grid, results, workers, overrides, progress, allow_plugins
        As for `run`. `workers` compute one after the other the signals of several cells each.
    spectra
        `auto` computes all singular values of the Jacobian of the last hidden layer of perceptrons up to width 512, and
        of wider ones an estimate of the largest and of the mean square; `full` all of them at any width.

    Returns
    -------
    DataFrame
        The rows of `load_signal` before training (`epoch` 0): `cell`, `epoch`, `layer`, `statistic`, `value`.

    Raises UserError for a mistake in the grid and for networks that do not fit into memory; WorkerDied and CannotWrite
    as `run` does. A cell whose signal cannot be computed is left out, with a warning.

    Examples
    --------
    >>> import initbench as ib
    >>> signal = ib.signal({"initializer": ["he_normal", "zeros"], "hidden": [512] * 100})  # doctest: +SKIP
    >>> signal[signal["statistic"] == "gradient_ratio"]  # doctest: +SKIP
    """
    if spectra not in SPECTRA:
        raise UserError(f"spectra = {shown(spectra)}; allowed: 'auto' or 'full'")
    grid, folder = grid_of(grid, overrides, Path(results) if results else None, allow_plugins=allow_plugins)
    with each_round(display_for(progress)) as on_event:
        computed = signals.compute(
            grid, folder, ExecutionConfig(workers, device=device_in(grid)), on_event, spectra == "full"
        )
    experiment = computed.experiment
    experiment.notes += [
        f"{experiment.folder}: the signal of {failed.cell.label} could not be computed: {failed.why}"
        for failed in computed.failed
    ]
    table = experiment.signal()
    _warn(experiment)
    return table[table["epoch"] == 0].reset_index(drop=True)


def result(folder: str | Path) -> Result:
    """Return the result of an experiment in its folder, as `run` returned it.

    With a rule for the seeds, it has the cells that the rule has requested so far.

    Raises UserError if the folder is not an experiment.

    Examples
    --------
    >>> import initbench as ib
    >>> ib.result("results/keepcoding").figure()  # doctest: +SKIP
    """
    experiment = rounds.opened(folder)
    opened = Result(experiment, experiment.frame())
    _warn(experiment)
    return opened


def load(folder: str | Path) -> "pd.DataFrame":
    """Return the tidy table of an experiment: the cells of its grid, in the grid's order, by epoch.

    With a rule for its seeds, these are the cells that the rule has requested so far.

    Its columns are `str`, `int64` and `float64`. In a table of more than a million rows strings are categorical and
    integers are `int32` where they fit, so that a million cells of ten epochs take 1.1 GB and not 3.3.

    Raises UserError if the folder is not an experiment.

    Examples
    --------
    >>> import initbench as ib
    >>> frame = ib.load("results/keepcoding")  # doctest: +SKIP
    """
    experiment = rounds.opened(folder)
    frame = experiment.frame()
    _warn(experiment)
    return frame


def load_signal(folder: str | Path) -> "pd.DataFrame":
    """Return the signal in the networks of an experiment, layer by layer, before and after training: a long table.

    Its columns are `cell`, as in the tidy table; `epoch`, 0 before training or the last one; `layer`, 0 for the input
    and from 1 for the layers with weights; `statistic`, a name such as `saturated_share`; and `value`. The page
    "The signal" of the documentation defines each statistic.

    Rows are in the order of the grid's cells, by epoch, layer and statistic. A value may be infinite or NaN: a network
    has diverged, or a quotient has no value. The table is empty for an experiment without a signal: trained with
    `diagnostics = false`, or by an earlier version. In a table of more than a million rows strings are categorical and
    integers are `int32`.

    Raises UserError if the folder is not an experiment.

    Examples
    --------
    >>> import initbench as ib
    >>> signal = ib.load_signal("results/keepcoding")  # doctest: +SKIP
    >>> initial = signal[(signal["epoch"] == 0) & (signal["statistic"] == "saturated_share")]  # doctest: +SKIP
    >>> initial.pivot(index="cell", columns="layer", values="value")  # doctest: +SKIP
    """
    experiment = rounds.opened(folder)
    table = experiment.signal()
    _warn(experiment)
    return table


def report(folder: str | Path) -> Path:
    """Write the report of an experiment, `report.html` in its folder; returns its path.

    Raises UserError if the folder is not an experiment.
    """
    experiment = rounds.opened(folder)
    path = outputs.report(experiment).path
    _warn(experiment)
    return path


def figures(
    folder: str | Path,
    form: str = "svg",
    into: str | Path | None = None,
    *,
    title: bool = False,
    width: str | float | None = None,
    style: str = "paper",
) -> list[Path]:
    """Write the report's figures as files for a paper; returns their paths.

    They depend on no settings of matplotlib, and leave yours unchanged.

    Parameters
    ----------
    folder
        The experiment's folder.
    form
        `svg` (letters as outlines), `pdf` (fonts embedded) or `png` (300 dots per inch).
    into
        The folder of the files; default `figures` in the experiment's folder. It is created if it does not exist.
    title
        Whether each figure's title stands above it; by default that is left to the paper's caption.
    width
        The width of each file, at which it is laid out: a length in `in`, `cm`, `mm` or `pt` (LaTeX's), such as
        `3.25in`, `one-column` (3.25in), `two-column` (6.75in), or a number of inches. By default each figure has its
        own width, on slides 12in.
    style
        `paper`, with letters of 7 to 9 points, or `slides`, with letters of 12 to 16 points and thicker lines, for
        slides of 13.33in by 7.5in; figures of many rows are higher. Letters have this size at every width.

    Raises UserError if the folder is not an experiment, or none of its cells is trained, or a format, width or style is
    not allowed.

    Examples
    --------
    >>> import initbench as ib
    >>> ib.figures("results/keepcoding", "pdf", width="one-column")  # doctest: +SKIP
    """
    experiment = rounds.opened(folder)
    paths = outputs.write_figures(experiment, form, into, title=title, width=width, style=style)
    _warn(experiment)
    return paths


def compare(before: str | Path, after: str | Path) -> "pd.DataFrame":
    """Return what changed between two experiments, for each configuration that both have: see `stats.changes`.

    `stats.outcome` decides from this table whether the second experiment passes, fails or neither can be shown.
    An own function of the first experiment is compared with the one of its name in the second, also if its code has
    changed; the table has the second one's digest.

    Raises UserError if a folder is not an experiment, or the two have no cell in common.

    Examples
    --------
    >>> import initbench as ib
    >>> table = ib.compare("main/results/keepcoding", "branch/results/keepcoding")  # doctest: +SKIP
    >>> table[table["significant"]]  # doctest: +SKIP
    >>> ib.stats.outcome(table, 0.5)  # doctest: +SKIP
    'inconclusive'
    """
    experiments = rounds.opened(before), rounds.opened(after)
    table = outputs.changes(*experiments)[0]
    for experiment in experiments:
        _warn(experiment)
    return table


def merge(folders: Sequence[str | Path], into: str | Path) -> "pd.DataFrame":
    """Merge experiments into a new folder, each cell once; returns its tidy table.

    A cell that differs between experiments is kept as the first of them has it, with a warning.

    Raises UserError if a folder is not an experiment, or `into` is not empty.
    """
    merged = managed.merge(folders, into)
    merged.experiment.notes += merged.notes
    frame = merged.experiment.frame()
    _warn(merged.experiment)
    return frame


def verify(
    folder: str | Path,
    sample: int = 10,
    seed: int = 0,
    *,
    workers: int | None = None,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
) -> list[str]:
    """Check an experiment's files, and retrain a sample of its cells to compare them bit for bit.

    The checks are each part's checksum and columns, the ids of its cells, and whether its rows can come from a
    training. A cell that was trained on another kind of CPU, or with other versions, may have other bits, which is not
    a fault. Nothing in the folder is changed.

    Parameters
    ----------
    folder
        The experiment's folder.
    sample
        The number of cells to retrain, chosen at random; 0 for none.
    seed
        The seed of that choice. (The command line uses another one each time.)
    workers
        The number of processes that train; default one per CPU core or GPU.
    plugins
        The files of own functions. Cells whose functions are of other code are checked, but not retrained: the code
        that the experiment's folder has is never executed.
    allow_plugins
        Whether the code in these files may run, if it was not allowed in a terminal before.

    Returns
    -------
    list of str
        A line for each thing that is wrong; empty if the experiment is sound.

    Raises UserError if the folder is not an experiment.
    """
    experiment = rounds.opened(folder)
    describe.load(plugins, consent.allow if allow_plugins else consent.refuse_unless_allowed, "ib.verify")
    # On any device: the one that the grid names may not be here.
    return managed.verify(experiment, sample, seed, ExecutionConfig(workers)).problems


def script(folder: str | Path, cell: str) -> str:
    """Return a trained cell as a plain PyTorch program, which trains it and prints the same figures.

    Parameters
    ----------
    folder
        The experiment's folder.
    cell
        The cell's id, or the start of it: the column `cell` of the tidy table.

    Returns
    -------
    str
        The text of a Python file of less than 150 lines. It imports NumPy, PyTorch and Python's standard library, and
        of a cell with own functions the user's files.

    Raises UserError if the folder is not an experiment, or the cell is not one of it, is not trained, or cannot be
    written so.

    Examples
    --------
    >>> import initbench as ib
    >>> frame = ib.load("results/keepcoding")  # doctest: +SKIP
    >>> Path("repro.py").write_text(ib.script("results/keepcoding", frame["cell"][0]))  # doctest: +SKIP
    """
    experiment = rounds.opened(folder)
    text = cells.script(experiment, cells.find(experiment, cell))
    _warn(experiment)
    return text


def trace(
    folder: str | Path,
    cell: str,
    path: str | Path,
    *,
    plugins: Sequence[str | Path] = (),
    allow_plugins: bool = False,
) -> str:
    """Train a cell again, alone, and write its initial weights and each of its steps to an `.npz` file.

    Parameters
    ----------
    folder, cell
        As for `script`.
    path
        The file, which is replaced if it exists. `numpy.load` reads it. For layer l it has `weights_l`, in initbench's
        layout (`[fan_in, fan_out]`; `[height, width, channels_in, channels_out]`), and `bias_l`; `names` of the layers
        in PyTorch's module; `order` `[epochs, steps, batch]`, the rows of the training split in each batch;
        `step_losses` and `learning_rates` `[epochs, steps]`; each metric of the tidy table, `[epochs + 1]`; of a model
        of the user's, `state/NAME`, the module's state in PyTorch's layout; and `cell` and `environment`, as JSON.
    plugins, allow_plugins
        The files of own functions, and whether their code may run, as for `verify`.

    Returns
    -------
    str
        Whether the figures are those of the experiment, bit for bit, or by how much they differ.

    Raises UserError as `script` does, and if the code of a plugin is needed, or the cell cannot be trained.
    """
    experiment = rounds.opened(folder)
    describe.load(plugins, consent.allow if allow_plugins else consent.refuse_unless_allowed, "ib.trace")
    compared = cells.trace(experiment, cells.find(experiment, cell), Path(path))
    _warn(experiment)
    return compared


def take_notes(experiment: Experiment) -> list[str]:
    """Return the cautions about an experiment and its notes; later calls return only new lines."""
    from initbench.reporting.cautions import added_seeds, cautions

    grid = experiment.grid
    return experiment.take_notes([*cautions(grid.sources.values()), *added_seeds(grid, experiment.seeds_seen)])


def _warn(experiment: Experiment, stacklevel: int = 3) -> None:
    """Warn of each thing that the user should know about an experiment, once; by default at the caller's caller."""
    for line in take_notes(experiment):
        warnings.warn(line, stacklevel=stacklevel)
