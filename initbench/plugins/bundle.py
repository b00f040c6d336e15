"""The code of a plugin as bytes: the file that the user named, and what it imports from beside itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from initbench.registry import DIGEST_DIGITS


@dataclass(frozen=True)
class Bundle:
    """A plugin's code.

    Attributes
    ----------
    path
        The path of the main file, as messages and tracebacks show it.
    main
        The name of the main file, `my_schemes.py`.
    files
        The content of each file, by its path below the main file's folder, with `/`: the main file, and the modules
        and packages beside it that it imports.
    """

    path: str
    main: str
    files: Mapping[str, bytes]

    @cached_property
    def digest(self) -> str:
        """The first 20 hexadecimal digits of a SHA-256 of the content.

        The names of the files that are imported count, because the code depends on them; that of the main file does
        not.
        """
        content = hashlib.sha256(hashlib.sha256(self.files[self.main]).digest())
        for name in sorted(self.files.keys() - {self.main}):
            content.update(name.encode() + b"\n" + hashlib.sha256(self.files[name]).digest())
        return content.hexdigest()[:DIGEST_DIGITS]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON: the content as text, which it is."""
        return {"path": self.path, "main": self.main, "files": {name: c.decode() for name, c in self.files.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Bundle":
        """Return the bundle that `to_json` wrote."""
        return cls(value["path"], value["main"], {name: text.encode() for name, text in value["files"].items()})
