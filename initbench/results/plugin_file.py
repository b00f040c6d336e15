"""The plugins of an experiment, in `plugins.json`: the code that was trained, by digest; data, never executed."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from initbench.errors import printable
from initbench.models import own
from initbench.models.architecture import Architecture, Shape
from initbench.plugins.bundle import Bundle
from initbench.plugins.describe import NO_DESCRIPTION, REGISTRIES
from initbench.registry import OWN_NAME, digests_in
from initbench.spec.grid import Grid
from initbench.spec.own import SETTINGS_BY_KIND
from initbench.system import files

PLUGINS = "plugins.json"

# Thousands of versions of a file of an ordinary size. Beyond it, the oldest versions are dropped.
MAX_PLUGINS_BYTES = 50_000_000

MAX_FUNCTIONS, MAX_NAME, MAX_TEXT = 1000, 200, 1000

# The settings that can name a plugin's function.
SETTINGS = tuple(setting for settings in SETTINGS_BY_KIND.values() for setting in settings)


class Function(NamedTuple):
    """A function of a plugin: its kind, its name without the digest, its signature, and its docstring's first line."""

    kind: str
    name: str
    signature: str
    summary: str


class Network(NamedTuple):
    """The architecture that an own model, by its canonical string, has for images of a shape."""

    model: str
    shape: Shape
    classes: int
    architecture: Architecture


@dataclass(frozen=True)
class StoredPlugin:
    """A plugin whose functions were trained: its code, these functions, and the networks of its models."""

    bundle: Bundle
    functions: tuple[Function, ...]
    networks: tuple[Network, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        content = {**self.bundle.to_json(), "functions": [function._asdict() for function in self.functions]}
        if self.networks:
            content["networks"] = [
                {**network._asdict(), "architecture": own.to_json(network.architecture)} for network in self.networks
            ]
        return content


def own_functions(grid: Grid) -> dict[str, dict[tuple[str, str], None]]:
    """Return the own functions on a grid's axes: by digest the kind and the short name of each, in order."""
    functions: dict[str, dict[tuple[str, str], None]] = {}
    for kind, settings in SETTINGS_BY_KIND.items():
        texts = [value for setting in settings for value in grid.axes[setting]]
        if kind == "dataset":
            texts = [grid.sources[name].function for name in texts]
        for text in filter(digests_in, texts):
            for name, digest in OWN_NAME.findall(text):
                functions.setdefault(digest, {})[kind, name] = None
    return functions


def own_names(grid: Grid) -> set[str]:
    """Return the full names of the own functions on a grid's axes, without their parameters."""
    return {f"{name}@{digest}" for digest, functions in own_functions(grid).items() for _, name in functions}


def plugins_of(grid: Grid) -> dict[str, StoredPlugin]:
    """Return the plugins of a grid whose code is loaded, by digest."""
    functions = own_functions(grid)
    plugins = {}
    for digest, bundle in grid.plugins.items():
        described = []
        for kind, name in functions.get(digest, ()):
            if record := REGISTRIES[kind].get(f"{name}@{digest}"):
                signature = OWN_NAME.sub(r"\1", record.signature)
                summary = "" if record.summary == NO_DESCRIPTION else record.summary
                described.append(_function(kind, name, signature, summary))
        plugins[digest] = StoredPlugin(bundle, tuple(described), tuple(_networks_of(grid, digest)))
    return plugins


def _networks_of(grid: Grid, digest: str) -> Iterator[Network]:
    """Yield the networks of a plugin's models on a grid's axes, as far as they are known."""
    for model, source in itertools.product(grid.axes["model"], grid.sources.values()):
        if digest in digests_in(model) and own.is_known(model, source.shape, source.classes):
            network = own.network_of(model, "", "none", source.shape, source.classes)
            yield Network(model, source.shape, source.classes, network)


def write(folder: Path, plugins: Mapping[str, StoredPlugin]) -> list[str]:
    """Add plugins to those of an experiment's folder, as its newest ones; returns lines for the user."""
    notes: list[str] = []
    if not plugins:
        return notes
    stored = read(folder, notes)
    for digest, plugin in plugins.items():
        earlier = stored.pop(digest, plugin)
        functions = dict.fromkeys((*earlier.functions, *plugin.functions))
        networks = dict.fromkeys((*earlier.networks, *plugin.networks))
        stored[digest] = StoredPlugin(plugin.bundle, tuple(functions), tuple(networks))
    entries = [f"{json.dumps(digest)}: {json.dumps(plugin.to_json())}" for digest, plugin in stored.items()]
    excess, dropped = sum(len(entry) + 2 for entry in entries) + 1 - MAX_PLUGINS_BYTES, 0
    while excess > 0 and dropped < len(entries) - len(plugins):
        excess -= len(entries[dropped]) + 2
        dropped += 1
    if dropped:
        notes.append(printable(f"{folder / PLUGINS}: is full; dropped: the code of the oldest {dropped:,}"))
    files.write_file(folder / PLUGINS, ("{" + ",\n".join(entries[dropped:]) + "}\n").encode())
    return notes


def read(folder: Path, notes: list[str]) -> dict[str, StoredPlugin]:
    """Return the plugins of an experiment's folder by digest, the newest last; `notes` gets a line for what is damaged.

    The code of a plugin has the digest under which it is returned. The networks of its models are known from then on.
    """
    path = folder / PLUGINS
    try:
        content = files.read_json(path, MAX_PLUGINS_BYTES)
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"damaged: {error}"
        notes.append(printable(f"{path}: cannot be read ({printable(str(why), 200)}); the results do not depend on it"))
        return {}
    plugins = {}
    for digest, value in content.items():
        try:
            plugin = plugins[digest] = _checked(digest, value)
            for network in plugin.networks:
                if not own.is_known(*network[:3]):
                    own.add(*network)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    if damaged := len(content) - len(plugins):
        records = "1 record is" if damaged == 1 else f"{damaged:,} records are"
        notes.append(
            printable(f"{path}: {records} damaged or not of its digest; left out; the results do not depend on it")
        )
    return plugins


def _checked(digest: str, value: Mapping[str, Any]) -> StoredPlugin:
    """Return the plugin that a value of the file describes; an error if it is damaged or has another digest."""
    bundle = Bundle.from_json({key: field for key, field in value.items() if key not in ("functions", "networks")})
    networks = tuple(_network(**fields) for fields in value.get("networks", ()))
    if bundle.digest != digest or max(len(value["functions"]), len(networks)) > MAX_FUNCTIONS:
        raise ValueError(digest)
    if any(digests_in(network.model) != {digest} for network in networks):
        raise ValueError(digest)
    functions = tuple(_function(**fields) for fields in value["functions"])
    if not all(function.kind in REGISTRIES and _is_name(function.name) for function in functions):
        raise ValueError(digest)
    return StoredPlugin(bundle, functions, networks)


def _network(model: str, shape: Sequence[int], classes: int, architecture: Mapping[str, Any]) -> Network:
    height, width, channels = shape
    if any(type(size) is not int or not 1 <= size <= own.MAX_NUMBER for size in (*shape, classes)):
        raise ValueError(shape)
    return Network(model, (height, width, channels), classes, own.from_json(architecture))


def _is_name(name: str) -> bool:
    return name.isidentifier() and name.isascii() and len(name) <= MAX_NAME


def _function(kind: str, name: str, signature: str, summary: str) -> Function:
    return Function(kind, name, printable(signature, MAX_TEXT), printable(summary, MAX_TEXT))
