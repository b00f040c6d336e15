"""Compare the initializers of a file of one's own with others on a battery of networks: the work of `initbench try`."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initbench.errors import UserError
from initbench.initializers import schemes
from initbench.plugins import bundle
from initbench.plugins.bundle import Bundle
from initbench.plugins.consent import Allow, refuse_unless_allowed
from initbench.plugins.describe import Host, Names, described
from initbench.registry import digests_in, naming
from initbench.spec import gridfile, presets
from initbench.spec.grid import Grid, parse

if TYPE_CHECKING:
    from initbench.reporting.evidence import Evidence
    from initbench.reporting.verdict import Verdict

PRESET = "battery"

# The axes of which `quick` keeps the value in the middle: the networks, and the learning rates of each initializer.
QUICK = ("hidden", "learning_rate")

MAX_NAME = 100  # of an experiment


@dataclass(frozen=True)
class Battery:
    """A grid with the initializers of a file: `own` has their canonical names, `others` those that they meet.

    `omitted` has the values of each axis that `quick` leaves out.
    """

    grid: Grid
    own: Sequence[str]
    omitted: Mapping[str, Sequence[Any]]

    @property
    def others(self) -> list[str]:
        """The initializers that those of the file are compared with."""
        return [name for name in self.grid.axes["initializer"] if name not in self.own]

    def verdicts(self, evidence: "Evidence") -> "list[Verdict]":
        """Return the verdict on each initializer of the file, from its experiment: see `reporting.verdict`."""
        from initbench.reporting import names
        from initbench.reporting.verdict import verdicts

        axis = "initializer"
        for_people = dict(zip(self.grid.axes[axis], evidence.grid.axes[axis], strict=True))
        return verdicts(evidence, [names.initializer(for_people[name]) for name in self.own])


def of_file(
    file: str | Path,
    grid: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    quick: bool = False,
    allow: Allow = refuse_unless_allowed,
) -> Battery:
    """Return the battery with all initializers of a Python file added, at their default parameters.

    Parameters
    ----------
    file
        The Python file. Its code runs, in a process of its own, to know its functions.
    grid
        A grid file, an experiment's folder or a preset in place of the preset `battery`: the initializers of the file
        are added to its initializers.
    overrides
        Settings to replace, but no initializers.
    quick
        Whether to keep only the value in the middle of the hidden layers and of the learning rates: a ninth of the
        battery.
    allow
        Raises UserError unless the code of the grid's own plugins may run: see `grid.parse`.

    Raises
    ------
    UserError
        With a line for each mistake in the file or the grid; if the file defines no initializer, or the grid has no
        other to compare with.
    """
    code = bundle.read(file)
    replaced = dict(overrides or {})
    replaced_settings = {key.rpartition(".")[2] for key in replaced}
    if "initializer" in replaced_settings:
        raise UserError(
            f"--set initializer: not allowed here: those of {file} at their defaults are compared with the grid's; "
            "to compare others, or other parameters, write a grid file, and give it as --grid GRID.TOML"
        )
    names = _initializers(code)
    path = presets.path(PRESET) if grid is None else gridfile.find(grid)
    text, origin = gridfile.read_text(path), gridfile.label(path)
    document = gridfile.document(text, origin, replaced)[1]
    listed = _listed(document)
    of_grid = "" if grid is None else gridfile.default_name(path)
    title = "-".join(filter(None, ["try", Path(file).stem, of_grid, "quick" * quick]))
    changes: dict[str, object] = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", title)[:MAX_NAME],
        "initializer": [*listed, *_not_listed(names, listed)],
    }
    omitted = {}
    for setting in QUICK if quick else ():
        values = _axis(document, setting)
        if len(values) > 1 and setting not in replaced_settings:
            middle = changes[setting] = values[len(values) // 2]
            omitted[setting] = [value for value in values if value != middle]

    def allow_others(grid_origin: str, grid_text: str, bundles: Sequence[Bundle]) -> None:
        if others := [other for other in bundles if other.digest != code.digest]:
            allow(grid_origin, grid_text, others)

    whole = parse(
        text,
        origin=origin,
        overrides={**changes, **replaced},
        folder=None if gridfile.experiment_folder(path) else path.parent,
        bundles=[code],
        allow=allow_others,
    )
    own = [name for name in whole.axes["initializer"] if code.digest in digests_in(name)]
    battery = Battery(whole, own, omitted)
    if not battery.others:
        raise UserError(
            f"{origin}: no initializer to compare those of {file} with; name others in the grid's initializer, such as "
            'initializer = ["he_normal", "orthogonal"]'
        )
    return battery


def _not_listed(names: Names, listed: Sequence[Any]) -> list[str]:
    """Return the short names that a grid does not list at their default parameters, in whatever spelling."""
    spelled = set()
    with naming(names):
        for value in listed:
            with contextlib.suppress(ValueError):  # an invalid value, which `parse` reports
                spelled.add(schemes.resolve(value))
    return [short for (_, short), full in names.items() if full not in spelled]


def _initializers(code: Bundle) -> Names:
    """Return the names of the initializers that a plugin defines; UserError if there is none."""
    with Host() as host:
        names = {key: full for key, full in described([code], host).items() if key[0] == "initializer"}
    if not names:
        raise UserError(
            f"{code.path}: defines no initializer; allowed: a function whose first argument is shape, or one marked "
            "with @ib.initializer, as in docs/how-to/own-initializer.md"
        )
    return names


def _listed(document: Mapping[str, Any]) -> list[Any]:
    """Return the initializers of a grid file as it has them; none where they are invalid, which `parse` reports."""
    for section in ("grid", "model"):
        table = document.get(section)
        if isinstance(table, dict) and "initializer" in table:
            return table["initializer"] if isinstance(table["initializer"], list) else [table["initializer"]]
    return []


def _axis(document: Mapping[str, Any], setting: str) -> list[Any]:
    """Return the values of an axis as a grid file has it; none where there is no axis, or it is invalid."""
    grid = document.get("grid")
    values = grid.get(setting) if isinstance(grid, dict) else None
    is_axis = isinstance(values, list) and (setting != "hidden" or all(isinstance(item, list) for item in values))
    return values if is_axis and isinstance(values, list) else []
