"""The plugins of a grid: their code, and trials of the functions that the grid names."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from initbench.data.datasets import Source
from initbench.errors import UserError, shown
from initbench.initializers import INITIALIZERS, schemes
from initbench.models.perceptron import layers
from initbench.plugins import bundle, store
from initbench.plugins.bundle import Bundle
from initbench.plugins.describe import REGISTRIES, Host
from initbench.registry import OWN_NAME, digests_in, own_names_in, shorten_digests
from initbench.spec.settings import PLUGINS

# The settings that can name a plugin's function, by its kind.
SETTINGS_BY_KIND = {
    "initializer": ("initializer", "bias_initializer"),
    "activation": ("activation", "output_activation"),
    "model": ("model",),
    "loss": ("loss",),
    "optimizer": ("optimizer",),
}


def paths(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Return the paths of a document's plugins, which are relative to a folder; UserError if they are invalid."""
    value = document.get("plugins", [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(path, str) and path for path in values):
        raise UserError(f"plugins = {shown(value)} is not allowed; allowed: {PLUGINS}")
    return [folder / path for path in values]


def code(files: Sequence[Path], bundles: Sequence[Bundle]) -> tuple[list[Bundle], list[Bundle]]:
    """Return the plugins in these files, and all plugins, each once; none is executed."""
    of_files = {b.digest: b for b in (bundle.read(path) for path in dict.fromkeys(files))}
    return list(of_files.values()), list({**{b.digest: b for b in bundles}, **of_files}.values())


def used(axes: Mapping[str, Sequence[Any]], bundles: Sequence[Bundle]) -> dict[str, Bundle]:
    """Return the plugins whose functions stand on the axes, by digest."""
    digests = digests_in(*(value for values in axes.values() for value in values if isinstance(value, str)))
    return {b.digest: b for b in bundles if b.digest in digests}


def mistakes(axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, Source], host: Host) -> list[str]:
    """Return a line for each function of a plugin that cannot be used in this grid, and why: it is tried."""
    lines: dict[str, str] = {}  # by reason, each once
    for setting, check in _checks(axes, sources):
        if why := host.why_not(check):
            lines.setdefault(why, f"{setting} = {shorten_digests(check['name'])!r}: {why}")
    return list(lines.values())


def code_missing(names: Iterable[str], files: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each plugin whose functions canonical strings name, and whose code this process does not have.

    `files` has the names of plugins' files, by digest. Where this process has loaded functions of these names, the line
    says which file has them: it has changed since, or is another one.
    """
    by_digest: dict[str, dict[str, None]] = {}
    for name, digest in (pair for text in names for pair in OWN_NAME.findall(text)):
        if store.missing([f"{name}@{digest}"]):
            by_digest.setdefault(digest, {})[name] = None
    lines = []
    for digest, own_names in by_digest.items():
        required = ", ".join(shorten_digests(f"{name}@{digest}") for name in own_names)
        main = (files or {}).get(digest, "")
        file = f" ({main})" * bool(main)
        present = [full for name in own_names for r in REGISTRIES.values() for full in r.of_plugins(name)]
        others = [(b, full) for full in present for b in store.of([full])]
        remedy = "give its path: --plugin PATH"
        if others:
            other, full = others[-1]
            has = f"{other.path} has {shorten_digests(full)}"
            again = f"train the new version with {next(iter(own_names))} in a grid file of your own"
            same_file = main in ("", other.main)
            remedy = (
                f"{has}: give the file as it was, or {again}" if same_file else f"{remedy} ({has}, another version)"
            )
        lines.append(f"needs the code of {required}{file}; {remedy}")
    return lines


def _checks(axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, Source]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the trials of a grid's own functions, each with its setting."""
    for kind, settings in SETTINGS_BY_KIND.items():
        names = {name: setting for setting in settings for name in axes[setting] if _is_loaded(name)}
        for name, setting in names.items() if kind != "initializer" else ():
            yield setting, {"kind": kind, "name": name}
    activations = {
        (activation, activation if output == "same" else output)
        for activation, output in itertools.product(axes["activation"], axes["output_activation"])
    }
    networks = {layers(hidden, s.pixels, s.classes) for hidden in axes["hidden"] for s in sources.values()}
    checks: dict[tuple[object, ...], tuple[str, dict[str, Any]]] = {}
    for setting, network, functions in itertools.product(
        SETTINGS_BY_KIND["initializer"], sorted(networks), sorted(activations)
    ):
        for name in axes[setting]:
            if _is_loaded(name) or any(map(_is_loaded, functions)):
                matters = network if "@" in name else len(network), functions if _sees_activations(name) else ()
                check = {"kind": "initializer", "name": name, "layers": network, "loss": axes["loss"][0]}
                check |= {
                    "activation": functions[0],
                    "output_activation": functions[1],
                    "bias": setting != "initializer",
                }
                checks.setdefault((setting, name, *matters), (setting, check))
    yield from checks.values()


def _sees_activations(initializer: str) -> bool:
    """Return whether an initializer's weights may depend on the activations."""
    names = {scheme.partition("(")[0] for scheme in schemes.of_layers(initializer, 3)}
    takes = any(name in INITIALIZERS and "activation" in INITIALIZERS[name].supplied for name in names)
    return takes or schemes.is_network_scheme(initializer)


def _is_loaded(name: str) -> bool:
    """Return whether a canonical string names a plugin's function whose code is there."""
    return any(full in registry for full in own_names_in(name) for registry in REGISTRIES.values())
