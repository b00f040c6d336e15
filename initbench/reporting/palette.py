"""The colours and markers of initializers. Nothing here imports matplotlib or seaborn."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# Colours of initializers on white and on near black, 3:1 or more against their ground (WCAG 2.2, 1.4.11) and distinct
# for the colour-blind; the page takes them from its style sheet, so that one drawing serves light and dark.
LIGHT = ("#0872c7", "#f63318", "#00a560", "#210005", "#b2709a", "#6b3a00", "#0b4b75", "#a03156", "#470b8b", "#6fa039")
DARK = ("#7ebef4", "#e95f21", "#69ffbc", "#cbf8ff", "#d587a6", "#e4cc09", "#4778b0", "#bb5a4c", "#9a88ff", "#efff80")

MARKERS = "osD^vPX*<>hdp8H"


@dataclass(frozen=True)
class Palette:
    """One colour and one marker for each initializer, throughout the report."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, initializers: Sequence[str]) -> "Palette":
        """The palette of these initializers; beyond ten, evenly spaced hues, which markers help to distinguish."""
        return cls(tuple(initializers))

    @cached_property
    def light(self) -> dict[str, str]:
        """The colours on a light ground."""
        return self._colours(LIGHT, 0.5)

    @cached_property
    def dark(self) -> dict[str, str]:
        """The colours on a dark ground."""
        return self._colours(DARK, 0.75)

    @cached_property
    def markers(self) -> dict[str, str]:
        """The markers, by matplotlib's names."""
        return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(self.names)}

    def _colours(self, few: Sequence[str], lightness: float) -> dict[str, str]:
        colours = few if len(self.names) <= len(few) else _hues(len(self.names), 0.9, lightness)
        return dict(zip(self.names, colours, strict=False))

    @property
    def variables(self) -> tuple[str, str]:
        """The light and the dark colours, as declarations of a style sheet."""
        light, dark = (
            "".join(f"--c{i}: {colour}; " for i, colour in enumerate(colours.values()))
            for colours in (self.light, self.dark)
        )
        return light, dark

    @property
    def style(self) -> str:
        """The colours as a style sheet: light, dark where the reader prefers it, and light on paper."""
        light, dark = self.variables
        return (
            f":root {{ {light}}}\n"
            f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {dark}}} }}\n'
            f':root[data-theme="dark"] {{ {dark}}}\n'
            f'@media print {{ :root, :root:not([data-theme="light"]), :root[data-theme="dark"] {{ {light}}} }}'
        )


def _hues(count: int, saturation: float, lightness: float) -> list[str]:
    """Evenly spaced hues of equal lightness, those of `seaborn.husl_palette`."""
    to_rgb = _husl().husl_to_rgb
    colours = (to_rgb((i / count + 0.01) % 1 * 359, 99 * saturation, 99 * lightness) for i in range(count))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in colours]


def _husl() -> Any:
    """seaborn's module of this colour space, which is plain Python; seaborn itself takes a second to import."""
    package = importlib.util.find_spec("seaborn")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0], "external", "husl.py")
    spec = importlib.util.spec_from_file_location("initbench_husl", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
