"""Arguments and options that several commands share."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench.cli import completion
from initbench.cli.program import print_error, say
from initbench.errors import UserError

if TYPE_CHECKING:
    from initbench.plugins.bundle import Bundle
    from initbench.plugins.describe import Names
    from initbench.results.experiment import Experiment
    from initbench.spec.grid import Grid

GridPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="GRID.TOML",
        help="A grid file, an experiment's folder, or a preset, such as keepcoding; default: the only grid file here.",
        autocompletion=completion.grids,
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="In place of GRID.TOML: one of `initbench list presets`, also where a file or a folder has its name.",
        autocompletion=completion.presets,
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="EXPERIMENT",
        help="An experiment's folder, such as results/keepcoding.",
        autocompletion=completion.experiments,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a setting of the grid file; several values, as in loss=mse,mae, make it an axis. Repeatable.",
        autocompletion=completion.settings,
    ),
]
Smoke = Annotated[
    bool,
    typer.Option(
        "--smoke",
        help="A trial in seconds: one seed, one epoch, few images, or what --set says. Its results go to NAME-smoke.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes that train; default: one per CPU core, or per GPU; one for a second or two of training.",
    ),
]
Width = Annotated[
    int | None,
    typer.Option("--width", min=1, help="Maximum number of cells in a stack; default: the fastest on this machine."),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Device that trains; default: the grid file's, or auto, the CPU. cuda is experimental.",
        autocompletion=completion.choices("auto", "cpu", "cuda"),
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Train on a Dask cluster: tcp://HOST:PORT, file://scheduler.json, or local, a cluster on this machine.",
    ),
]
Processor = Annotated[
    str, typer.Option("--processor", metavar="NAME", help="Use only cluster workers whose CPU has NAME in its name.")
]
Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Folder in which the experiment's folder is; default: results, or the current one for its own grid.toml.",
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file with own initializers or functions. Repeatable."),
]
AllowPlugins = Annotated[
    bool,
    typer.Option(
        "--allow-plugins", help="Run the code of plugins without a question; the permission is not remembered."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]

UNCHANGED = " (unchanged)"  # after the path of a report that was not regenerated


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise UserError if a file that the user names exists; files whose names the program chooses are replaced."""
    if path.exists() and not force:
        raise UserError(f"{path}: exists already; give another name, or --force to overwrite it")


def print_notes(experiment: "Experiment") -> None:
    """Print what the user should know about an experiment, each line once."""
    from initbench.api import take_notes

    for line in take_notes(experiment):
        print_error(line)


def find_grid(path: Path | None, preset: str | None = None) -> Path:
    """Return the grid file that the argument GRID.TOML or --preset means, and print which if it is not named."""
    from initbench.spec import gridfile, presets

    if preset is not None:
        if path is not None:
            raise UserError(f"--preset {preset}: given together with {path}; give one of them")
        presets.text(preset)  # UserError if there is none
        return presets.path(preset)
    grid_file = gridfile.find(path)
    if path is None:
        say(f"Grid: {grid_file}")
    elif preset := presets.name_of(grid_file):
        other = Path(f"{preset}.toml")
        say(f"Grid: the preset {preset}" + f", not the file {other}" * other.is_file())
    return grid_file


def grid_words(
    path: Path, preset: str | None, overrides: Iterable[str] | None = None, smoke: bool = False
) -> list[str]:
    """Return the words of a command that mean a grid: the preset's option or the argument, and what changes it."""
    from initbench.spec.gridfile import label

    words = ["--preset", preset] if preset else [label(path)]
    return [*words, *set_words(overrides), *["--smoke"] * smoke]


def set_words(overrides: Iterable[str] | None) -> list[str]:
    """Return the words of a command that replace settings, from those behind --set."""
    return [word for pair in overrides or () for word in ("--set", pair)]


def read_grid(
    path: Path,
    overrides: list[str] | None,
    smoke: bool,
    device: str | None,
    results: Path | None,
    plugins: list[Path] | None,
    allow_plugins: bool,
) -> "tuple[Grid, Path]":
    """Return the grid of a file, and the folder that holds the experiment's folder."""
    from initbench.api import training
    from initbench.plugins import consent
    from initbench.spec.gridfile import experiment_folder

    replaced = pairs(overrides or []) | ({"device": device} if device else {})
    allow = consent.allow if allow_plugins else consent.ask
    grid, folder = training.read_grid(
        path, replaced, smoke=smoke, results=results, plugins=each_once(plugins), allow=allow
    )
    if results is None and experiment_folder(path):
        say(f"{path} is an experiment's own grid: results go to {folder / grid.name} (or give --results DIR)")
    return grid, folder


def each_once(plugins: list[Path] | None) -> Sequence[Path]:
    """Return the files of all --plugin options; UserError if two are the same."""
    resolved: dict[Path, Path] = {}
    for path in plugins or ():
        if (first := resolved.setdefault(path.resolve(), path)) is not path:
            raise UserError(f"--plugin {path}: is the file of --plugin {first}; give it once")
    return plugins or ()


def load_plugins(plugins: list[Path] | None, allow_plugins: bool, command: str) -> "tuple[list[Bundle], Names]":
    """Let the functions of all --plugin options be known to a command without a grid file: see `describe.load`."""
    from initbench.plugins import consent, describe

    return describe.load(each_once(plugins), consent.allow if allow_plugins else consent.ask, command)


def plugin_words(plugins: Sequence[Path | str] | None, allow_plugins: bool) -> list[str]:
    """Return the options that a command with these plugins has."""
    return [word for path in plugins or () for word in ("--plugin", str(path))] + ["--allow-plugins"] * allow_plugins


def pairs(texts: list[str]) -> dict[str, Any]:
    """Return the values of all --set options by key; UserError with a line for each that is not KEY=VALUE."""
    wrong = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if wrong:
        allowed = "allowed: KEY=VALUE, such as --set seed=10 or --set 'hidden=[128, 128]'"
        raise UserError(*(f"--set {text}: {allowed}" for text in wrong))
    return dict(map(pair, texts))


def pair(text: str) -> tuple[str, Any]:
    """Parse `key=value`, the value as TOML or else as one or several words.

    >>> pair("seed=3"), pair("activation=tanh"), pair("loss=mse,mae")
    (('seed', 3), ('activation', 'tanh'), ('loss', ['mse', 'mae']))
    """
    import tomllib

    from initbench.spec.own import IN_FILE

    key, _, value = text.removeprefix("\ufeff").partition("=")
    for form in (value, f"[{value}]" if "," in value else value):
        with contextlib.suppress(ValueError, RecursionError):  # invalid TOML, an endless number, or too deep a list
            return key.strip(), tomllib.loads(f"value = {form}")["value"]
    words = [word.strip() for word in value.split(",")]
    are_names = all(word.isidentifier() or IN_FILE.fullmatch(word) for word in words)
    return key.strip(), words if len(words) > 1 and are_names else value.strip()
