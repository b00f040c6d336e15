"""The grid: the meaning of a grid file, and its cells."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from initbench.data import datasets
from initbench.errors import UserError
from initbench.models.built_in import PERCEPTRON
from initbench.plugins import bundle
from initbench.plugins.bundle import Bundle
from initbench.plugins.consent import Allow, refuse_unless_allowed
from initbench.plugins.describe import Host, add, described, usable
from initbench.plugins.installed import installed
from initbench.registry import naming, shorten_digests
from initbench.spec import gridfile, own
from initbench.spec.cell import Cell, warmup_steps
from initbench.spec.columns import SETTINGS
from initbench.spec.contradictions import contradictions
from initbench.spec.seed_rule import SeedRule
from initbench.spec.settings import RULES


@dataclass(frozen=True)
class Grid:
    """A grid file's meaning: for each setting its values, one or many, in canonical form.

    `axes` maps each setting to its values; `output_activation` may be `same`, and `train_size` None for all images.
    `sources` maps the name of a data set to its source; `text` is the grid file with overrides applied.
    `equivalent_within`, in percentage points, is what choosing an initializer may cost so that the report calls it
    equivalent to the best; None if the file does not set it. It changes no cell and no result. With a `seed_rule`, the
    seeds are the most that the rule may take, and so are the cells: the results decide how many are trained.
    `diagnostics` states whether the signal of each cell is computed; it changes no cell and no result.
    `plugins` has the code of the plugins whose functions stand on the axes, by digest.
    """

    name: str
    axes: Mapping[str, tuple[Any, ...]]
    sources: Mapping[str, datasets.Source]
    text: str
    equivalent_within: float | None = None
    seed_rule: SeedRule | None = None
    diagnostics: bool = True
    plugins: Mapping[str, Bundle] = field(default_factory=dict)

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    @property
    def varying(self) -> list[str]:
        """The settings with several values: the axes of the experiment."""
        return [setting for setting in SETTINGS if len(self.axes[setting]) > 1]

    @property
    def shape(self) -> str:
        """The axes in words: `6 initializers × 4 activations × 2 losses × 5 seeds`."""
        axes = [counted(len(self.axes[setting]), setting) for setting in self.varying]
        if (rule := self.seed_rule) and rule.min_seeds < rule.max_seeds:
            axes[-1] = f"{rule.min_seeds} to {axes[-1]}"
        return " × ".join(axes) or "a single cell"

    def cells(self) -> Iterator[Cell]:
        """Yield the cross-product, each point resolved; the seed varies fastest."""
        output = SETTINGS.index("output_activation")
        activation = SETTINGS.index("activation")
        model, hidden = SETTINGS.index("model"), SETTINGS.index("hidden")
        for values in itertools.product(*(self.axes[setting] for setting in SETTINGS)):
            point = list(values)
            if point[1] is None:
                point[1] = self.sources[point[0]].train_size
            if point[output] == "same":
                point[output] = point[activation]
            if point[model] != PERCEPTRON:
                point[hidden] = ""
            yield Cell._make(point)


def counted(count: int, setting: str) -> str:
    """Return a count of a setting's values in words.

    >>> counted(2, "loss"), counted(3, "batch_size"), counted(2, "epochs")
    ('2 losses', '3 batch sizes', '2 numbers of epochs')
    """
    special = {
        "dataset": "data sets",
        "loss": "losses",
        "epochs": "numbers of epochs",
        "warmup_epochs": "lengths of warm-up",
        "hidden": "shapes of hidden layers",
        "standardize": "values of standardize",
        "augment": "augmentations",
        "dropout": "rates of dropout",
        "gradient_clipping": "limits of the gradient",
    }
    return f"{count} " + special.get(setting, setting.replace("_", " ") + "s")


def read(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    *,
    name: str = "",
    sources: Mapping[str, datasets.Source] | None = None,
    smoke: bool = False,
    plugins: Sequence[str | Path] = (),
    bundles: Sequence[Bundle] = (),
    allow: Allow | None = refuse_unless_allowed,
) -> Grid:
    """Read a grid file, with `overrides` (setting: value) applied; UserError lists every mistake.

    `name` is the experiment's name if the file does not set one; the default is the file's own name, or for an
    experiment's `grid.toml` its folder's. `sources`, `plugins`, `bundles` and `allow` as for `parse`; `smoke` makes the
    grid small, for a first look, but for what `overrides` has. The file is read once: it may be a pipe.
    """
    path = Path(path)
    text, origin = gridfile.read_text(path), gridfile.label(path)
    name = name or gridfile.default_name(path)
    own_folder = Path() if gridfile.is_transient(path) else path.parent  # a pipe is in no folder
    folder = None if gridfile.experiment_folder(path) else own_folder
    small: dict[str, object] = {}
    while True:
        grid = parse(
            text,
            origin=origin,
            name=name,
            overrides={**(overrides or {}), **small},
            sources=sources,
            folder=folder,
            plugins=plugins,
            bundles=bundles,
            allow=allow,
        )
        if not smoke or small:
            return grid
        small = {
            key: value for key, value in smoke_overrides(grid).items() if key == "name" or key not in (overrides or {})
        }


def parse(
    text: str,
    *,
    origin: str = "grid",
    name: str = "grid",
    overrides: Mapping[str, object] | None = None,
    sources: Mapping[str, datasets.Source] | None = None,
    folder: Path | None = Path(),
    plugins: Sequence[str | Path] = (),
    bundles: Sequence[Bundle] = (),
    allow: Allow | None = refuse_unless_allowed,
) -> Grid:
    """Return the grid of a TOML text; UserError lists every mistake.

    Parameters
    ----------
    text, origin
        The text, and what messages call it.
    name
        The experiment's name if the text does not set one; if it is "", the text must.
    overrides
        Settings to replace.
    sources
        Data sets that are not read from disk: those of an existing experiment.
    folder
        The folder to which the paths of the text's plugins are relative; None for that of an experiment's folder,
        which names none.
    plugins
        Paths of more plugins, relative to the working directory.
    bundles
        The code of more plugins, which may run.
    allow
        Called with the origin, the text and the code of the plugins in files, before it is executed: it raises
        UserError unless the user gives permission. None for results that are read: no plugin is executed, and names
        that carry a digest are valid.
    """
    file_text = text
    text, document = gridfile.document(text, origin, overrides)
    code: list[Bundle] = []
    by_path: dict[Path, Bundle] = {}
    if allow is not None:
        replaced = {key.rpartition(".")[2] for key in overrides or {}}

        def folder_of(setting: str) -> Path:
            if folder is None and setting not in replaced:
                raise UserError(f"{setting}: an experiment's own grid names no code that runs; give --plugin PATH")
            return Path() if folder is None or setting in replaced else folder

        with _origin(origin):
            in_files, with_full_names = own.in_files(document, folder_of)
            files = own.paths(document, folder_of("plugins")) if "plugins" in document else []
        files += map(Path, plugins)
        read_here = {path: bundle.read(path) for path in (*files, *(function.path for function in in_files))}
        by_path = {function.path: read_here[function.path] for function in in_files}
        if read_here:
            allow(origin, file_text, own.each_once(read_here.values()))
        code = own.each_once([*bundles, *(read_here[path] for path in files)])
    with Host() as host:
        if allow is not None:
            code += [plugin for plugin in usable(installed(), host) if plugin not in code]
        names = described(code, host)
        if by_path:
            with _origin(origin):
                for plugin in by_path.values():
                    add(plugin, host)
                document = with_full_names(by_path)
            code = own.each_once([*code, *by_path.values()])
        with naming(names):
            find = partial(own.find, earlier=list((sources or {}).values()), host=host if allow is not None else None)
            values, mistakes = gridfile.validated(document, find)
            if not name and "name" not in values and "name" not in document:
                mistakes.append(
                    "name is missing, and a pipe has none; set it in the file, name = 'mine', or as --set name=mine"
                )
            values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100].strip(".-_") or "grid")
            rule = values["seed"] if isinstance(values.get("seed"), SeedRule) else None
            seeds = {"seed": range(rule.max_seeds)} if rule else {}
            axes = {setting: tuple({**values, **seeds}.get(setting, _default(setting))) for setting in SETTINGS}
            used = {source.name: source for source in axes["dataset"]}
            axes["dataset"] = tuple(source.name for source in axes["dataset"])
            if allow is not None and "dataset" not in values.get("wrong", ()):
                mistakes += own.unfit_models(axes, used, host)
            mistakes += [*gridfile.misplaced(document), *map(shorten_digests, contradictions(values, axes, used))]
            mistakes = mistakes or ([] if allow is None else own.mistakes(axes, used, host))
    if mistakes:
        raise UserError(*(f"{origin}: {line}" for line in mistakes))
    plugins_used = own.used(axes, used, code)
    return Grid(
        values["name"],
        axes,
        used,
        text,
        values.get("equivalent_within"),
        rule,
        values.get("diagnostics", True),
        plugins_used,
    )


@contextmanager
def _origin(origin: str) -> Iterator[None]:
    """Within it, the lines of a UserError begin with the origin of the grid."""
    try:
        yield
    except UserError as error:
        raise UserError(*(f"{origin}: {line}" for line in error.lines)) from None


def _default(setting: str) -> list[Any]:
    """Return the values of a setting that a grid file does not mention."""
    if setting == "dataset":
        return [datasets.find("mnist")]
    if setting == "hidden":
        return ["128"]
    default = RULES[setting].default
    return list(range(default)) if setting == "seed" else [default]


def smoke_overrides(grid: Grid) -> dict[str, object]:
    """Return a smoke test's overrides: another name, one seed, one epoch, at most ten batches of the largest size."""
    size = min(10 * max(grid.axes["batch_size"]), *(source.train_size for source in grid.sources.values()))
    seed = grid.axes["seed"][0]
    overrides = {"name": f"{grid.name[:94]}-smoke", "seed": [seed], "epochs": 1, "train_size": size}
    by_steps: dict[int, float] = {}  # each length of a warm-up once; one of a single step is as none
    steps = size // max(grid.axes["batch_size"])
    for warmup in (min(warmup, 1.0) for warmup in grid.axes["warmup_epochs"]):
        by_steps.setdefault(max(warmup_steps(warmup, steps), 1), warmup)
    if tuple(by_steps.values()) != grid.axes["warmup_epochs"]:
        overrides["warmup_epochs"] = list(by_steps.values())
    return overrides
