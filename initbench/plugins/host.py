"""The host: a process that executes plugins to describe and try them, so that no other process has to.

`python -m initbench.plugins.host` reads one request a line, in JSON, from standard input, and writes one reply a line
to standard output. What a plugin prints goes to standard error. It ends with its input.

Requests are `{"action": "describe", "bundle": …}`, which returns the functions; `{"action": "try", "check": …}` (see
`trial.tried`); `{"action": "weights", "name": …, "shape": …, "supplied": …}`, which returns an array; and
`{"action": "parameters", "names": …, "model": …, "seed": …}`, which returns those of each layer. A reply has the key
`mistake` if the request failed because of the plugin, `failure` if it failed without a place in it, or `needs` if it
needs a batch of the model: that is the next request, `{"arrays": …}`.
"""

import itertools
import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from initbench.errors import UserError
from initbench.initializers import INITIALIZERS, schemes
from initbench.initializers.model import Batch, Model
from initbench.plugins import arrays
from initbench.plugins.bundle import Bundle
from initbench.plugins.records import register
from initbench.plugins.trial import not_alone, tried


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a plugin that reads from standard input gets nothing

    def write(reply: Mapping[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    def batch() -> Any:
        write({"needs": "batch"})
        return arrays.from_json(json.loads(requests.readline())["arrays"])

    while line := requests.readline():
        try:
            reply = _reply(json.loads(line), batch)
        except UserError as error:
            reply = {"mistake": "; ".join(error.lines)}
        except ValueError as error:
            reply = {"mistake": str(error)}
        except Exception as error:
            traceback.print_exc()
            reply = {"failure": f"{type(error).__name__}: {error}"}
        write(reply)
    os._exit(0)  # threads of a plugin do not keep it


def _reply(request: Mapping[str, Any], batch: Callable[[], Batch]) -> dict[str, Any]:
    if request["action"] == "describe":
        return {"functions": describe(Bundle.from_json(request["bundle"]))}
    if request["action"] == "try":
        why, results = tried(request["check"])
        return {"why": why, "results": results, "not_alone": not_alone(request["check"]["name"])}
    if request["action"] == "parameters":
        model = Model(tuple(map(tuple, request["model"].pop("layers"))), _Batches(batch), **request["model"])
        initializer, bias_initializer = request["names"]
        layers = schemes.parameters(initializer, bias_initializer, model, request["seed"])
        return {"arrays": arrays.to_json(list(itertools.chain.from_iterable(layers)))}
    return {
        "arrays": arrays.to_json([INITIALIZERS.call(request["name"], tuple(request["shape"]), **request["supplied"])])
    }


class _Batches:
    """The batches of a model that another process has, from the first one on, each requested once."""

    def __init__(self, request: Callable[[], Batch]) -> None:
        self._request = request
        self._batches: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        for n in itertools.count():
            if n == len(self._batches):
                self._batches.append(self._request())
            yield self._batches[n]


def describe(bundle: Bundle) -> list[dict[str, Any]]:
    """Execute a plugin and return what the records of its functions say, as JSON."""
    return [
        {
            "kind": kind,
            "name": name,
            "parameters": [
                {"name": p.name, "kind": p.kind.__name__, "default": p.default, "choices": p.choices}
                for p in record.parameters
            ],
            "tags": sorted(record.tags),
            "supplied": sorted(record.supplied),
            "summary": record.summary,
            "n_arrays": getattr(record, "n_arrays", 0),  # of an optimizer
        }
        for (kind, name), record in register(bundle).items()
    ]


if __name__ == "__main__":
    main()
