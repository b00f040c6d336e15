"""The host: a process that executes plugins to describe and try them, so that no other process has to.

`python -m initbench.plugins.host` reads one request a line, in JSON, from standard input, and writes one reply a line
to standard output. What a plugin prints goes to standard error. It ends with its input.

Requests are `{"action": "describe", "bundle": …}`, which returns the functions; `{"action": "try", "check": …}` (see
`trial.tried`); and `{"action": "weights", "name": …, "shape": …, "supplied": …}`, which returns an array. A reply has
the key `mistake` if the request failed because of the plugin.
"""

import base64
import io
import json
import os
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np

from initbench.errors import UserError
from initbench.initializers import INITIALIZERS
from initbench.plugins.bundle import Bundle
from initbench.plugins.records import register
from initbench.plugins.trial import tried


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a plugin that reads from standard input gets nothing
    for line in requests:
        try:
            reply = _reply(json.loads(line))
        except UserError as error:
            reply = {"mistake": "; ".join(error.lines)}
        except ValueError as error:
            reply = {"mistake": str(error)}
        except Exception as error:
            traceback.print_exc()
            reply = {"mistake": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
    os._exit(0)  # threads of a plugin do not keep it


def _reply(request: Mapping[str, Any]) -> dict[str, Any]:
    if request["action"] == "describe":
        return {"functions": describe(Bundle.from_json(request["bundle"]))}
    if request["action"] == "try":
        return {"why": tried(request["check"])}
    array = INITIALIZERS.call(request["name"], tuple(request["shape"]), **request["supplied"])
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return {"array": base64.b64encode(content.getvalue()).decode()}


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
