"""The grid: what a grid file means, and its cells."""

import codecs
import itertools
import math
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initbench.data import datasets
from initbench.errors import UserError, shown
from initbench.initializers import schemes
from initbench.models.perceptron import layers
from initbench.spec.cell import Cell
from initbench.spec.columns import SETTINGS
from initbench.spec.gridfile import misplaced, override, validated
from initbench.spec.settings import MAX_CELLS, RULES
from initbench.system import files

RESERVED_NAMES = ("asv", "asv-html", "example-keepcoding")

# Windows takes these for devices, whatever follows a dot, and leaves out a dot at the end: a run is a folder there,
# too.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

# Names that the system gives to a pipe or a file that is open: they say nothing of its content, and end with a process.
DESCRIPTOR = re.compile(r"/dev/(fd/\d+|stdin)|/proc/.*")

# A grid file has at most so many bytes: a million values of ten signs each.
MAX_BYTES = 10_000_000

# A key of many parts, `a.b.c.…`: the time that TOML's reader takes grows with the square of their number.
LONG_KEY = re.compile(r"(?<![\w.\"' \t-])(?:[\w\"' \t-]++\.){100}")


@dataclass(frozen=True)
class Grid:
    """What a grid file says: for each setting its values, one or many, in canonical form.

    `axes` maps every setting to its values; `output_activation` may be `same`, `train_size` None for all there is.
    `sources` maps the name of a data set to where it comes from; `text` is the file as it was run.
    """

    name: str
    axes: Mapping[str, tuple[Any, ...]]
    sources: Mapping[str, datasets.Source]
    text: str

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    @property
    def varying(self) -> list[str]:
        """The settings with several values: the axes of the experiment."""
        return [setting for setting in SETTINGS if len(self.axes[setting]) > 1]

    @property
    def shape(self) -> str:
        """The axes in words: `6 initializers × 4 activations × 2 losses × 5 seeds`."""
        return " × ".join(counted(len(self.axes[setting]), setting) for setting in self.varying) or "a single cell"

    def cells(self) -> Iterator[Cell]:
        """The cross-product, each point resolved; the seed varies fastest."""
        output = SETTINGS.index("output_activation")
        activation = SETTINGS.index("activation")
        for values in itertools.product(*(self.axes[setting] for setting in SETTINGS)):
            point = list(values)
            if point[1] is None:
                point[1] = self.sources[point[0]].train_size
            if point[output] == "same":
                point[output] = point[activation]
            yield Cell._make(point)


def counted(count: int, setting: str) -> str:
    """A count of a setting's values, for people.

    >>> counted(2, "loss"), counted(3, "batch_size"), counted(2, "epochs")
    ('2 losses', '3 batch sizes', '2 numbers of epochs')
    """
    special = {"loss": "losses", "epochs": "numbers of epochs", "hidden": "shapes of hidden layers"}
    return f"{count} " + special.get(setting, setting.replace("_", " ") + "s")


def read(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    *,
    name: str = "",
    sources: Mapping[str, datasets.Source] | None = None,
    smoke: bool = False,
) -> Grid:
    """The grid of a file, with `overrides` (setting: value) put in; UserError names every mistake.

    `name` is the run's name where the file gives none. Its default is the file's own name; for the `grid.toml` in a
    run's folder it is the folder's. `sources` as for `parse`; `smoke` makes the grid small, for a first look. The file
    is read once: it may be a pipe.
    """
    path = Path(path)
    try:
        content = _content(path)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
            raise UserError(f"{path}: is UTF-16 or UTF-32 text; save it as UTF-8")
        text = content.decode("utf-8")
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a grid file, such as {path / 'grid.toml'}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        if run_folder(path):
            message = f"{path}: cannot be read ({error.strerror}); put the grid file that was run there"
            raise UserError(message) from None
        tip = "; `initbench new grid.toml` writes one" if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"{path}: {error.strerror}{tip}") from None
    except ValueError as error:  # a zero byte, say
        raise UserError(f"{path}: is no file's name ({error})") from None
    name = name or _name_for(path)
    grid = parse(text, origin=str(path), name=name, overrides=overrides, sources=sources)
    if smoke:
        small = {**(overrides or {}), **smoke_overrides(grid)}
        grid = parse(text, origin=str(path), name=name, overrides=small, sources=sources)
    return grid


def run_folder(path: Path) -> Path | None:
    """The folder of the run that a grid file belongs to: where it is the `grid.toml` that a run keeps beside its parts;
    None for any other file."""
    return path.parent if path.name == "grid.toml" and (path.parent / "parts").is_dir() else None


def results_for(path: Path, name: str) -> Path:
    """The folder in which the run of this name of a grid file is made by default: `results`, or for a run's own
    `grid.toml` the folder that holds that run's, also where the run is reached by a symbolic link of another name."""
    folder = run_folder(path)
    if not folder:
        return Path("results")
    beside = Path(os.path.normpath(folder / ".."))
    target = folder.resolve()
    return target.parent if target.name == name and (beside / name).resolve() != target else beside


def is_transient(path: Path) -> bool:
    """Whether a path leads nowhere, or elsewhere, once this process has ended: a pipe, or standard input."""
    return not path.is_file() or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    return bool(DESCRIPTOR.fullmatch(os.path.abspath(path)))


def _name_for(path: Path) -> str:
    """The name of a run whose grid file gives none; "" where the file has none either: `/dev/fd/63` says nothing."""
    if folder := run_folder(path):
        return Path(os.path.abspath(folder)).name
    return "" if _is_descriptor(path) else path.stem


def _content(path: Path) -> bytes:
    """The bytes of a grid file; UserError if they are no file's, or too many."""
    if run_folder(path):  # the folder may be a stranger's, and a pipe there would never end
        return files.read(path, MAX_BYTES)
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UserError(f"{path}: is a device; give a grid file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is too large; allowed: a grid file of at most {MAX_BYTES:,} bytes")
    return content


def parse(
    text: str,
    *,
    origin: str = "grid",
    name: str = "grid",
    overrides: Mapping[str, object] | None = None,
    sources: Mapping[str, datasets.Source] | None = None,
) -> Grid:
    """The grid of a TOML text; `name` is the run's name where the text gives none, and "" if it has to give one.

    `sources` are data sets that are known already, so that their files are not read: those of a run that is on disk.
    """
    text = text.removeprefix("\ufeff")  # the byte order mark that some editors put first
    document = _document(text, origin)
    if overrides:
        text = override(text, overrides)
        document = _document(text, origin)
    if (count := _count(document)) > MAX_CELLS:  # before all else: what follows takes its time with each value
        raise UserError(f"{origin}: {_too_many(count)}")
    values, mistakes = validated(document, sources)
    if not name and "name" not in values and "name" not in document:
        mistakes.append(
            "name is missing, and a pipe has none; give it in the file, name = 'mine', or as --set name=mine"
        )
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100].strip(".-_") or "grid")
    mistakes += misplaced(document)
    axes, found = _axes(values)
    mistakes += _contradictions(values, axes, found)
    if mistakes:
        raise UserError(*(f"{origin}: {line}" for line in mistakes))
    return Grid(values["name"], axes, found, text)


def _document(text: str, origin: str) -> dict[str, Any]:
    """What a TOML text says; UserError in one line if it is none."""
    if LONG_KEY.search(text):
        raise UserError(f"{origin}: has a key of 100 parts or more; allowed: the settings' names")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's errors are ValueErrors, and so are endless numbers
        last = text.splitlines() or [""]
        end = f"at the end, line {len(last)}, column {len(last[-1]) + 1}"
        hint = "; names are written in quotes" if str(error).startswith("Invalid value") else ""
        raise UserError(f"{origin}: is no TOML: {str(error).replace('at end of document', end)}{hint}") from None


def _count(document: Mapping[str, Any]) -> int:
    """How many cells a document asks for, whether or not they can be."""
    axes = document.get("grid")
    given = {key: axes[key] for key in SETTINGS if key in axes} if isinstance(axes, dict) else {}
    seeds = given.pop("seed", RULES["seed"].default)
    sizes = [len(values) for values in given.values() if isinstance(values, list)]
    if type(seeds) is int:  # a count
        sizes.append(max(1, seeds))
    elif isinstance(seeds, list):
        sizes.append(len(seeds))
    return math.prod(sizes)


def _too_many(count: int) -> str:
    """That a grid has too many cells."""
    told = f"{count:,}" if count < 10**30 else f"about 10^{math.log10(count):.0f}"
    return f"the grid has {told} cells; allowed: at most {MAX_CELLS:,}; take values from an axis"


def smoke_overrides(grid: Grid) -> dict[str, object]:
    """What makes a small run of a grid, for a first look: one seed, one epoch, ten batches; another name."""
    size = min(10 * max(grid.axes["batch_size"]), *(source.train_size for source in grid.sources.values()))
    seed = grid.axes["seed"][0]
    return {"name": f"{grid.name[:94]}-smoke", "seed": [seed], "epochs": 1, "train_size": size}


def _axes(values: Mapping[str, Any]) -> tuple[dict[str, tuple[Any, ...]], dict[str, datasets.Source]]:
    """The values of every setting, defaults filled in, and the data sets by name."""
    axes: dict[str, tuple[Any, ...]] = {}
    for setting in SETTINGS:
        default = RULES[setting].default
        if setting == "seed":
            default = list(range(default))
        else:
            default = [{"dataset": datasets.find("mnist"), "hidden": "128"}.get(setting, default)]
        axes[setting] = tuple(values.get(setting, default))
    sources = {source.name: source for source in axes["dataset"]}
    axes["dataset"] = tuple(source.name for source in axes["dataset"])
    return axes, sources


def _contradictions(
    values: Mapping[str, Any], axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, datasets.Source]
) -> list[str]:
    """The mistakes that show only between values, a line each; settings wrong by themselves are passed over."""
    wrong = values.get("wrong", set())
    lines = []
    if values["name"].lower() in RESERVED_NAMES:
        lines.append(f"name = {values['name']!r} is reserved; allowed: any other name than {', '.join(RESERVED_NAMES)}")
    elif DEVICES.fullmatch(values["name"]) or values["name"].endswith("."):
        lines.append(f"name = {values['name']!r} is no folder's name on every system; allowed: another, such as 'mine'")
    if "initializer" not in values and not {"initializer", "grid"} & wrong:
        lines.append('grid.initializer is missing; give at least one, such as initializer = ["he_normal", "zeros"]')
    for setting, given in axes.items():
        if len(set(given)) == len(given):
            continue
        repeated = [value for value, count in Counter(given).items() if count > 1]
        lines += [
            f"grid.{setting}: {shown(value)} is on this axis more than once; allowed: each value once"
            for value in repeated
        ]
    if not {"hidden", "activation", "output_activation"} & wrong:
        lines += _activation_contradictions(axes["hidden"], axes["activation"], axes["output_activation"])
        if not lines and not {"dataset", "initializer", "bias_initializer"} & wrong:
            lines += _initializer_contradictions(axes, sources)
    if not {"dataset", "train_size", "batch_size"} & wrong:
        for source in sources.values():
            lines += _size_contradictions(source, axes["train_size"], axes["batch_size"])
    count = math.prod(len(given) for given in axes.values())
    if count > MAX_CELLS:
        lines.append(_too_many(count))
    return lines


def _activation_contradictions(
    hidden: tuple[str, ...], activations: tuple[str, ...], outputs: tuple[str, ...]
) -> list[str]:
    lines = []
    if "softmax" in activations and any(hidden):
        widths = [int(n) for n in next(filter(None, hidden)).split("-")]
        lines.append(
            f"activation = 'softmax' with hidden = {widths} is not allowed: softmax is an output activation; "
            "give it as model.output_activation, or take the hidden layers out"
        )
    fixed = [o for o in outputs if o != "same"]
    if "" in hidden and len(activations) > 1 and fixed:
        lines.append(
            f"{len(activations)} activations with hidden = [] and output_activation = {fixed[0]!r} would be the same "
            "cell several times: without a hidden layer only the output has an activation; "
            "set output_activation = 'same', or give hidden layers"
        )
    if "same" in outputs:
        lines += [
            f"output_activation = {o!r} beside 'same' would make the same cell twice where activation = {o!r}; "
            "keep one of the two"
            for o in fixed
            if o in activations
        ]
    return lines


def _initializer_contradictions(
    axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, datasets.Source]
) -> list[str]:
    """Initializers that cannot fill a network of this grid, and those that would fill one in the same way."""
    lines: dict[str, None] = {}  # in order, each once
    given = {s: [name for name in axes[s] if name is not None] for s in ("initializer", "bias_initializer")}
    biases = given["bias_initializer"]
    for name in filter(schemes.sets_biases, given["initializer"] if len(biases) > 1 else []):
        lines[
            f"initializer = {name!r} with bias_initializer = {biases} would be the same cell {len(biases)} times: "
            f"it sets the biases itself; take it, or the several bias initializers, out of this grid"
        ] = None
    for hidden, source in itertools.product(axes["hidden"], sources.values()):
        network = layers(hidden, source.pixels, source.classes)
        widths = [out for _, out in network[:-1]]
        functions = itertools.product(axes["activation"], axes["output_activation"])
        used = dict.fromkeys(activation if widths or output == "same" else output for activation, output in functions)
        for setting, names in given.items():
            alike: dict[tuple[str, ...], str] = {}
            for name in names:
                first = alike.setdefault(schemes.of_layers(name, len(network)), name)
                if first != name:
                    lines[
                        f"{setting} = {name!r} with hidden = {widths} would be the same cell as {first!r}: "
                        f"the places that differ are not in this network; keep one of the two"
                    ] = None
            for activation, name in itertools.product(used, names):
                if why := schemes.unfit(name, network, activation, bias=setting == "bias_initializer"):
                    told = f" and activation = {activation!r}" if activation in why else ""
                    lines[f"{setting} = {name!r} with hidden = {widths}{told} is not allowed: {why}"] = None
    return list(lines)


def _size_contradictions(
    source: datasets.Source, train_sizes: tuple[int | None, ...], batch_sizes: tuple[int, ...]
) -> list[str]:
    lines = []
    sizes = [source.train_size if size is None else size for size in train_sizes]
    for size in sizes:
        if size > source.train_size:
            lines.append(
                f"train_size = {size} is not allowed; allowed: at most {source.train_size}, the training split of "
                f"{source.name}"
            )
    smallest = min(*sizes, source.train_size)
    for batch in batch_sizes:
        if batch > smallest:
            lines.append(
                f"batch_size = {batch} is not allowed; allowed: at most {smallest}, the size of the training split "
                "(or train_size)"
            )
    return lines
