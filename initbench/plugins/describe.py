"""Plugins as the process sees them that reads a grid file: their functions by name, and whether they can be used.

Their code runs in the host, a child process (`initbench.plugins.host`): one that exits, sleeps or prints harms nothing.
"""

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from initbench.data.catalog import KNOWN
from initbench.data.own import LOADERS, Loader
from initbench.errors import UserError, printable
from initbench.functions.activations import ACTIVATIONS, Activation
from initbench.functions.losses import LOSSES, Loss
from initbench.functions.optimizers import OPTIMIZERS, Optimizer
from initbench.initializers._base import INITIALIZERS, NETWORK, WEIGHTS, WEIGHTS_OR_BIAS, Initializer
from initbench.initializers.model import Model, Parameters
from initbench.models.built_in import MODELS, ModelRecord
from initbench.plugins import arrays, store
from initbench.plugins.bundle import Bundle, read
from initbench.plugins.consent import Allow
from initbench.plugins.installed import installed
from initbench.registry import Entry, Parameter, Registry, shorten_digests
from initbench.system import children
from initbench.system.threads import ENVIRONMENT

# How long a plugin may take to load, and each of its functions to return, in seconds.
MAX_SECONDS = 60.0

REGISTRIES: Mapping[str, Registry[Any]] = {
    "initializer": INITIALIZERS,
    "activation": ACTIVATIONS,
    "model": MODELS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "dataset": LOADERS,
}

# Words that stand for something else where a grid file names a function.
RESERVED = {"initializer": ("per_layer",), "activation": ("same",), "dataset": ("mnist", *KNOWN)}

Names = dict[tuple[str, str], str]  # full names by kind and short name

_described: dict[str, dict[tuple[str, str], Entry]] = {}

# The summary of a function without a docstring.
NO_DESCRIPTION = "No description."


class Host:
    """The process that executes plugins; it starts with the first request.

    What functions return is compared with a second one, in which they are called in another order.
    """

    def __init__(self) -> None:
        self._second: Host | None = None
        self._process: Any = None  # a `Popen`, from the first request on
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._loaded: set[str] = set()

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            if os.name == "posix":
                with suppress(OSError):
                    os.killpg(self._process.pid, signal.SIGKILL)  # and the processes that a plugin started
            self._process.kill()
            self._process.wait()
            with suppress(OSError):
                self._process.stdin.close()
            self._errors.close()
            self._process = None
        if self._second:
            self._second.__exit__()

    def describe(self, bundle: Bundle) -> list[dict[str, Any]]:
        """Execute a plugin and return its functions; UserError with the plugin's own mistake."""
        functions: list[dict[str, Any]] = self._ask({"action": "describe", "bundle": bundle.to_json()}, bundle)[
            "functions"
        ]
        self._loaded.add(bundle.digest)
        return functions

    def why_not(self, check: Mapping[str, Any]) -> str:
        """Return why a function cannot be used as a grid says, or an empty string: see `trial.tried`."""
        return self.tried(check)[0]

    def tried(self, check: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Return why a function cannot be used as a grid says, or an empty string, and what it returned."""
        settings = [*check.values(), *check.get("module", {}).values()]
        bundles = store.of(value for value in settings if isinstance(value, str))
        self._second = self._second or Host()
        try:
            self._load(bundles)
            here = self._ask({"action": "try", "check": {**check, "reverse": False}}, bundles[0])
            if here["why"]:
                return shorten_digests(here["why"]), {}
            self._second._load(bundles)
            there = self._second._ask({"action": "try", "check": {**check, "reverse": True}}, bundles[0])
        except UserError as error:
            return "; ".join(error.lines), {}
        if there["results"] != here["results"]:
            return shorten_digests(there["why"] or here["not_alone"]), {}
        return "", here["results"]

    def weights(self, name: str, shape: Sequence[int], **supplied: Any) -> Any:
        """Return the weights that an initializer computes for a shape; UserError with a plugin's mistake."""
        bundles = store.of([name, *(value for value in supplied.values() if isinstance(value, str))])
        self._load(bundles)
        request = {"action": "weights", "name": name, "shape": shape, "supplied": supplied}
        return arrays.from_json(self._ask(request, bundles[0])["arrays"])[0]

    def parameters(self, initializer: str, bias_initializer: str, model: Model, seed: int) -> Parameters:
        """Return the weights and the bias of each layer, as `schemes.parameters`; UserError with a plugin's mistake."""
        names, functions = (initializer, bias_initializer), (model.activation, model.output_activation, model.loss)
        bundles = store.of([*names, *functions])
        self._load(bundles)
        request: dict[str, Any] = {"action": "parameters", "name": initializer, "names": names, "seed": seed}
        request["model"] = dict(zip(("activation", "output_activation", "loss"), functions, strict=True))
        request["model"]["layers"] = model.layers
        batches = iter(model.batches)
        while "arrays" not in (reply := self._ask(request, bundles[0])):
            request = {"action": "batch", "name": initializer, "arrays": arrays.to_json(next(batches))}
        values = arrays.from_json(reply["arrays"])
        return list(zip(values[::2], values[1::2], strict=True))

    def _load(self, bundles: Sequence[Bundle]) -> None:
        for bundle in bundles:
            if bundle.digest not in self._loaded:
                self.describe(bundle)

    def _ask(self, request: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
        if self._process is None:
            self._start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=MAX_SECONDS)
        except OSError:
            line = None
        except queue.Empty:
            self._end()
            raise UserError(f"{bundle.path}: {_doing(request)} took longer than {MAX_SECONDS:.0f} seconds") from None
        try:
            reply = json.loads(line or "")
        except ValueError:
            status = self._process.wait()
            last = self._last_line()
            self._end()
            raise UserError(
                f"{bundle.path}: {_doing(request)} ended the process (exit status {status}){last}"
            ) from None
        if "mistake" in reply:
            raise UserError(shorten_digests(printable(reply["mistake"])))
        if "failure" in reply:
            raise UserError(f"{bundle.path}: {_doing(request)} failed: {reply['failure']}")
        return dict(reply)

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._lines = queue.SimpleQueue()
        self._process = children.start(
            "-m",
            "initbench.plugins.host",
            variables=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in the terminal reaches the parent alone, which ends it
        )
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    def _end(self) -> None:
        self.__exit__()
        self._loaded.clear()

    def _last_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f": {printable(lines[-1], 200)}" if lines else ""


def _read(stream: Any, lines: "queue.SimpleQueue[str | None]") -> None:
    """Read a host's replies until no process has the pipe; only this thread closes it, since a reader blocks others."""
    with stream, suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put(None)


def _doing(request: Mapping[str, Any]) -> str:
    """Return what a request does, for a message."""
    if request["action"] == "describe":
        return "loading it and trying its functions"
    name = request["check"]["name"] if request["action"] == "try" else request["name"]
    return f"trying {name.partition('@')[0]}"


def described(bundles: Sequence[Bundle], host: Host) -> Names:
    """Add the records of these plugins' functions, which say what they are but cannot be called; returns their names.

    Raises UserError with a plugin's mistake: a name that another plugin or initbench itself has, among others.
    """
    names: Names = {}
    origin: dict[tuple[str, str], str] = {}
    for bundle in bundles:
        for (kind, name), record in add(bundle, host).items():
            registry = REGISTRIES[kind]
            if name in registry or name in registry.aliases or name in RESERVED.get(kind, ()):
                raise UserError(f"{bundle.path}: {name} is {registry.article} of initbench; use another name")
            if (kind, name) in origin:
                raise UserError(f"{bundle.path}: {name} is {registry.article} of {origin[kind, name]}, too; rename one")
            origin[kind, name] = bundle.path
            names[kind, name] = record.name
    return names


def add(bundle: Bundle, host: Host) -> Mapping[tuple[str, str], Entry]:
    """Add the records of a plugin's functions under their full names; returns them by kind and short name.

    UserError with the plugin's mistake.
    """
    if bundle.digest not in _described:
        fields = host.describe(bundle)
        _described[bundle.digest] = {(f["kind"], f["name"]): _record(f, bundle) for f in fields}
        for (kind, _), record in _described[bundle.digest].items():
            if record.name not in REGISTRIES[kind]:
                REGISTRIES[kind].add(record)
    store.add(bundle)
    return _described[bundle.digest]


def usable(bundles: Sequence[Bundle], host: Host) -> list[Bundle]:
    """Return the plugins of installed packages that can be described, with a warning about each other one."""
    described_bundles = []
    for bundle in bundles:
        try:
            described([bundle], host)
        except UserError as error:
            warnings.warn(f"an installed plugin cannot be used: {error.lines[0]}", stacklevel=2)
        else:
            described_bundles.append(bundle)
    return described_bundles


def load(paths: Sequence[str | Path], allow: Allow, origin: str) -> tuple[list[Bundle], Names]:
    """Let the functions of plugins in files and in installed packages be known; returns their code, and their names.

    It is for a command without a grid file, `origin`; `allow` raises UserError unless the code in the files may run.
    """
    of_files = [read(path) for path in paths]
    if of_files:
        allow(origin, "", of_files)
    with Host() as host:
        bundles = [*usable(installed(), host), *of_files]
        return bundles, described(bundles, host)


def records(bundle: Bundle) -> Mapping[tuple[str, str], Entry]:
    """Return the records of a described plugin, by kind and short name."""
    return _described[bundle.digest]


def _record(fields: Mapping[str, Any], bundle: Bundle) -> Entry:
    """Return the record of a function that cannot be called here."""

    def elsewhere(*_: object, **__: object) -> Any:
        raise RuntimeError(f"{fields['name']} of {bundle.path} is executed by workers only")

    elsewhere.__doc__ = fields["summary"] or NO_DESCRIPTION
    kinds = {kind.__name__: kind for kind in (float, int, bool, str)}
    common: dict[str, Any] = {
        "name": f"{fields['name']}@{bundle.digest}",
        "function": elsewhere,
        "parameters": tuple(
            Parameter(p["name"], kinds[p["kind"]], p["default"], tuple(p["choices"])) for p in fields["parameters"]
        ),
        "tags": frozenset(fields["tags"]),
        "supplied": frozenset(fields["supplied"]),
        "is_described": True,
    }
    if fields["kind"] == "activation":
        return Activation(**common, module=elsewhere)
    if fields["kind"] == "loss":
        return Loss(**common, torch=elsewhere)
    if fields["kind"] == "optimizer":
        return Optimizer(**common, torch=elsewhere, n_arrays=fields["n_arrays"])
    if fields["kind"] == "model":
        return ModelRecord(**common)
    if fields["kind"] == "dataset":
        return Loader(**common)
    tags = common["tags"]
    fit = NETWORK if "network" in tags else WEIGHTS_OR_BIAS if "bias" in tags else WEIGHTS
    return Initializer(**common, fit=fit)
