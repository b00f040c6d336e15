"""The plugins of a grid: their code, and trials of the functions that the grid names."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from initbench.data import datasets
from initbench.data.datasets import Source
from initbench.data.own import LOADERS
from initbench.errors import UserError, nearest, shape_text, shown
from initbench.initializers import INITIALIZERS, schemes
from initbench.models import own as architectures
from initbench.models.architecture import Shape
from initbench.models.built_in import MODELS
from initbench.plugins import store
from initbench.plugins.bundle import Bundle
from initbench.plugins.describe import REGISTRIES, Host, records
from initbench.registry import OWN_NAME, digests_in, own_names_in, shorten_digests
from initbench.spec.networks import networks
from initbench.spec.settings import OF_FILE, OTHER_KEYS, SECTIONS

# The settings that can name a plugin's function, by its kind.
SETTINGS_BY_KIND = {
    "initializer": ("initializer", "bias_initializer"),
    "activation": ("activation", "output_activation"),
    "model": ("model",),
    "loss": ("loss",),
    "optimizer": ("optimizer",),
    "dataset": ("dataset",),
}

KINDS = {setting: kind for kind, settings in SETTINGS_BY_KIND.items() for setting in settings}

# What the message says if a file has no function of a kind.
OF_KIND = {
    "initializer": "a function whose first argument is shape",
    "model": "a function or class whose first arguments are channels, height, width, classes, or marked with @ib.model",
    "dataset": "a function whose name begins with load, or marked with @ib.dataset",
}

# Kinds whose functions are not tried by their names alone: initializers below, the others before the grid is valid.
TRIED_ELSEWHERE = ("initializer", "model", "dataset")

# The settings whose functions a grid file may name by their files: `my_models.py:build`, with parameters as in a
# canonical string.
BY_FILE = ("model", "dataset")
IN_FILE = re.compile(rf"{OF_FILE}(\(.*\))?", re.DOTALL | re.ASCII)


def paths(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Return the paths of a document's plugins, which are relative to a folder; UserError if they are invalid."""
    value = document.get("plugins", [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(path, str) and path for path in values):
        raise UserError(f"plugins = {shown(value)} is not allowed; allowed: {OTHER_KEYS['plugins'].allowed}")
    return [folder / path for path in values]


def each_once(bundles: Iterable[Bundle]) -> list[Bundle]:
    """Return plugins, each once."""
    return list({b.digest: b for b in bundles}.values())


class InFile(NamedTuple):
    """A function that a grid file names by its file: `"my_models.py:build"`."""

    setting: str
    path: Path
    name: str


def in_files(
    document: dict[str, Any], folders: Callable[[str], Path]
) -> tuple[list[InFile], Callable[[Mapping[Path, Bundle]], dict[str, Any]]]:
    """Return the functions that a document names by their files, and what returns the document with their full names.

    `folders` returns the folder to which the path of a setting is relative. The full names carry the digests of the
    files' code; UserError for a function that its file does not define.
    """
    named: dict[tuple[str, str], InFile] = {}  # by setting and text

    def note(setting: str, text: str) -> str:
        if match := IN_FILE.fullmatch(text):
            named[setting, text] = InFile(setting, folders(setting) / match[1], match[2])
        return text

    _with_strings(document, note)

    def with_full_names(bundles: Mapping[Path, Bundle]) -> dict[str, Any]:
        def full(setting: str, text: str) -> str:
            if (setting, text) not in named:
                return text
            _, path, name = named[setting, text]
            _require_function(setting, name, bundles[path])
            return f"{name}@{bundles[path].digest}{IN_FILE.fullmatch(text)[3] or ''}"  # type: ignore[index]

        return _with_strings(document, full)

    return list(named.values()), with_full_names


def _with_strings(document: dict[str, Any], replace: Callable[[str, str], str]) -> dict[str, Any]:
    """Return a document in which the strings of the settings `BY_FILE` are replaced."""

    def inside(setting: str, value: Any) -> Any:
        if isinstance(value, str):
            return replace(setting, value)
        if isinstance(value, list):
            return [inside(setting, item) for item in value]
        return {key: inside(setting, item) for key, item in value.items()} if isinstance(value, dict) else value

    changed = dict(document)
    for name in SECTIONS:
        if isinstance(table := document.get(name), dict):  # `model` is a section, and a setting in it
            changed[name] = {key: inside(key, value) if key in BY_FILE else value for key, value in table.items()}
    if "dataset" in document:
        changed["dataset"] = inside("dataset", document["dataset"])
    return changed


def _require_function(setting: str, name: str, code: Bundle) -> None:
    """Raise UserError unless a described plugin has a function of this name, of the kind that a setting names."""
    kind = KINDS[setting]
    of_kind = [short for other, short in records(code) if other == kind]
    if name in of_kind:
        return
    others = [other for other, short in records(code) if short == name]
    noun = REGISTRIES[kind].article.partition(" ")[2]
    problem = f"{name} is {REGISTRIES[others[0]].article}" if others else f"defines no {noun} {name}"
    allowed = ", ".join(of_kind) or OF_KIND.get(kind, f"a function that is marked with @ib.{kind}")
    raise UserError(f"{setting}: {code.path}: {problem}; allowed: {allowed}{nearest(name, of_kind)}")


def used(
    axes: Mapping[str, Sequence[Any]], sources: Mapping[str, Source], bundles: Sequence[Bundle]
) -> dict[str, Bundle]:
    """Return the plugins whose functions stand on the axes, and those that load the data sets, by digest."""
    texts = [value for values in axes.values() for value in values if isinstance(value, str)]
    digests = digests_in(*texts, *(source.folder for source in sources.values()))
    return {b.digest: b for b in bundles if b.digest in digests}


def find(value: object, *, earlier: Sequence[Source], host: Host | None) -> Source:
    """Return the data set that a grid file names: an own one, or one of `datasets.find`; UserError if it is invalid.

    `earlier` are the data sets of an existing experiment, which are not read again. An own one is loaded in the host,
    in two processes; without a host none is.
    """
    if not LOADERS.names_own(value):
        return datasets.find(value, earlier)
    try:
        name = str(LOADERS.resolve(value))
    except ValueError as error:
        raise UserError(str(error)) from None
    for source in earlier:
        if source.folder == name:
            return source
    if host is None or store.missing([name]):
        raise UserError(f"the code of {shorten_digests(name)} is needed, which loads the data; give --plugin FILE")
    if name not in _sources:
        why, results = host.tried({"kind": "dataset", "name": name})
        if why:
            raise UserError(why)
        _sources[name] = datasets.from_stored(json.loads(results["source"]))
    return _sources[name]


# By the canonical strings of the functions that load them.
_sources: dict[str, Source] = {}


def unfit_models(axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, Source], host: Host) -> list[str]:
    """Return a line for each own model that cannot be used on a data set of this grid, and why.

    The architectures of the others are known from then on.
    """
    lines: dict[str, str] = {}  # by reason, each once
    for name, source in itertools.product(filter(_is_loaded, axes["model"]), sources.values()):
        takes_activation = "activation" in MODELS.lookup(name)[0].supplied
        for activation in reversed(axes["activation"] if takes_activation else axes["activation"][:1]):
            if why := add_network(name, source.shape, source.classes, activation, host):
                data = f"dataset = {source.name!r} ({shape_text(source.shape)})"
                lines.setdefault(why, f"model = {shorten_digests(name)!r} with {data} is not allowed: {why}")
    return list(lines.values())


def add_network(name: str, shape: Shape, classes: int, activation: str, host: Host) -> str:
    """Try an own model for images of a shape, and add its architecture; returns why it cannot be used, or nothing."""
    check = {"kind": "model", "name": name, "shape": shape, "classes": classes, "activation": activation}
    why, results = host.tried(check)
    if not why:
        architectures.add(name, shape, classes, architectures.from_json(json.loads(results["architecture"])))
    return why


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
        for name, setting in names.items() if kind not in TRIED_ELSEWHERE else ():
            yield setting, {"kind": kind, "name": name}
    activations = {
        (activation, activation if output == "same" else output)
        for activation, output in itertools.product(axes["activation"], axes["output_activation"])
    }
    grid_networks = {  # one of each depth and shapes of layers, and of modules each
        (n.architecture.shapes, n[:3] if not n.architecture.is_perceptron else ()): n for n in networks(axes, sources)
    }
    checks: dict[tuple[object, ...], tuple[str, dict[str, Any]]] = {}
    for setting, (key, network), functions in itertools.product(
        SETTINGS_BY_KIND["initializer"], grid_networks.items(), sorted(activations)
    ):
        shapes = network.architecture.shapes
        for name in axes[setting]:
            looks_at_own = schemes.is_network_scheme(name) and _is_loaded(network.model)
            if looks_at_own or _is_loaded(name) or any(map(_is_loaded, functions)):
                matters = (
                    key if "@" in name or looks_at_own else len(shapes),
                    functions if _sees_activations(name) else (),
                )
                check = {"kind": "initializer", "name": name, "layers": shapes, "loss": axes["loss"][0]}
                check |= {
                    "activation": functions[0],
                    "output_activation": functions[1],
                    "bias": setting != "initializer",
                }
                if not network.architecture.is_perceptron:
                    model = {"model": network.model, "hidden": network.hidden, "normalization": network.normalization}
                    check["module"] = {**model, "shape": network.source.shape, "classes": network.source.classes}
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
