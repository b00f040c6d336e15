"""A figure as the page has it, for tests that hold what is drawn to its table.

Read is the SVG that goes into the page. Where a number stands on it, the axes' own transform says; where a tick, a bar
or a dot stands, the SVG.
"""

import re
import xml.etree.ElementTree as ET

import numpy as np

from initbench.reporting import figures
from initbench.reporting.figures.svg import unique

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
NO_COLOURS = figures.Palette.of([])


def position_of(element):
    """Return the position of a text element."""
    if element.get("x"):
        return float(element.get("x")), float(element.get("y"))
    return tuple(float(n) for n in re.match(r"translate\(([-\d.]+)[ ,]+([-\d.]+)\)", element.get("transform")).groups())


class Picture:
    """A figure as the page has it: its texts, bars and markers, and where its axes put a number."""

    def __init__(self, drawing, palette=NO_COLOURS):
        self.drawing = drawing
        self.root = ET.fromstring(unique(figures.inline(drawing, palette, "a-"), "b-"))
        self.axes = drawing.canvas.axes
        self.width, self.height = (float(part) for part in self.root.get("viewBox").split()[2:])
        self.texts = [(t.text or "", *position_of(t), t) for t in self.root.iter(f"{SVG}text")]
        paths = {p: np.array(re.findall(r"-?[\d.]+", p.get("d", "")), float) for p in self.root.iter(f"{SVG}path")}
        self.bars = [path.reshape(2, 2) for path in paths.values() if len(path) == 4]
        uses = [(u.get(f"{XLINK}href")[1:], float(u.get("x")), float(u.get("y"))) for u in self.root.iter(f"{SVG}use")]
        self.fills = {}  # colours of closed shapes, by their box: left, top, right, bottom
        for element, path in paths.items():
            fill = re.search(r"fill: ([^;]+)", element.get("style") or "")
            if fill and element.get("d", "").strip().endswith("z") and len(path) == 8:
                corners = path.reshape(-1, 2)
                self.fills.setdefault((*corners.min(axis=0).round(1), *corners.max(axis=0).round(1)), []).append(
                    fill[1]
                )
        self.markers = np.array([use[1:] for use in uses]).reshape(-1, 2)
        named = {p.get("id"): path for p, path in paths.items()}
        self.bands = [named[name].reshape(-1, 2) + offset for name, *offset in uses if len(named[name]) % 2 == 0]

    def at(self, x, y, axes=0):
        """Where a number stands, in the SVG's units."""
        axes = self.axes[axes]
        across, up = self.drawing.canvas.transFigure.inverted().transform(axes.transData.transform((x, y)))
        return across * self.width, (1 - up) * self.height

    def box(self, axes=0):
        """Left, right, top and bottom of a panel."""
        x0, y0, x1, y1 = self.axes[axes].get_position().extents
        return x0 * self.width, x1 * self.width, (1 - y1) * self.height, (1 - y0) * self.height

    def has_text(self, *wanted):
        texts = [text for text, *_ in self.texts]
        for text in wanted:
            assert text in texts, (text, texts)

    def filled(self, x, y, axes=0):
        """The colours of the shapes at a point, the last on top."""
        across, up = self.at(x, y, axes)
        return [
            fill
            for (x0, y0, x1, y1), fills in self.fills.items()
            if x0 < across < x1 and y0 < up < y1
            for fill in fills
        ]

    def has_bar(self, low, high, y):
        """A bar that ends at these numbers, inside of the panel."""
        left, right, _, _ = self.box()
        (start, up), (end, _) = sorted([self.at(low, y), self.at(high, y)])  # an axis can run to the left
        assert left <= start <= end <= right
        assert any(np.allclose(sorted(bar.tolist()), [[start, up], [end, up]], atol=0.02) for bar in self.bars), (
            low,
            high,
            self.bars,
        )

    def has_marker(self, x, y, axes=0):
        left, right, top, bottom = self.box(axes)
        across, up = self.at(x, y, axes)
        assert left + 2 < across < right - 2  # whole
        assert top + 2 < up < bottom - 2
        assert (np.abs(self.markers - (across, up)).max(axis=1) < 0.02).any(), (x, y)

    def has_band(self, x, low, high, axes=0):
        """A band whose ends at x are these numbers, inside of the panel."""
        _, _, top, bottom = self.box(axes)
        ends = [self.at(x, low, axes), self.at(x, high, axes)]
        assert top <= ends[1][1] <= ends[0][1] <= bottom
        assert any(all((np.abs(band - end).max(axis=1) < 0.02).any() for end in ends) for band in self.bands), (
            x,
            low,
            high,
        )

    def ticks(self, axes=0, across=True):
        """The labels of an axis, their numbers, and where they stand: the middle of the label, or its baseline."""
        left, right, top, bottom = self.box(axes)
        labels = []
        for text, x, y, element in self.texts:
            number = re.fullmatch(r"(−?)([\d.]+(?:e[-+]\d+)?)(%?)", text)
            anchor = element.get("style")
            if across:
                near = "middle" in anchor and left - 1 <= x <= right + 1 and bottom < y < bottom + 25
            else:
                near = ("end" in anchor and left - 30 < x < left) or ("start" in anchor and right < x < right + 25)
                near = near and top - 5 < y < bottom + 10
            if number and near:
                value = float(number[2]) * (-1 if number[1] else 1) * (0.01 if number[3] else 1)
                labels.append((text, value, x if across else y))
        return labels

    def labels_are_exact(self, axes=0, across=True, least=2):
        ticks = self.ticks(axes, across)
        assert len(ticks) >= least
        assert len({text for text, *_ in ticks}) == len(ticks)
        offsets = [
            position - self.at(*((value, 0.5) if across else (0.5, value)), axes)[0 if across else 1]
            for _, value, position in ticks
        ]
        if across:
            assert np.abs(offsets).max() < 0.02, list(zip(ticks, offsets, strict=True))
        else:  # a letter's baseline is below its middle
            assert np.ptp(offsets) < 0.03, list(zip(ticks, offsets, strict=True))
            assert 2 < np.mean(offsets) < 5
        return [text for text, *_ in ticks]


def shown_names(picture, names):
    """Require a row's label for each name: itself, or its beginning and its end, with a number where two are alike."""
    labels = [text.get_text() for text in picture.axes[0].texts if text.get_ha() == "left"]
    assert len(set(labels)) == len(names)
    for i, (name, label) in enumerate(zip(names, labels, strict=True), 1):
        picture.has_text(*label.split("\n"))
        begin, cut, end = re.sub(r"\s", "", label).removeprefix(f"{i}:").partition("…")
        whole = re.sub(r"\s", "", name)
        assert begin + end == whole or (cut and whole.startswith(begin) and whole.endswith(end)), (name, label)


def numbers_of(text):
    """The numbers of a table's text such as `91.2% ± 0.3` or `3.20 (2.91 to 3.49)`, and how precise they are."""
    parts = re.findall(r"[−-]?[\d.]+", text)
    return [float(part.replace("−", "-")) for part in parts], 0.5000001 / 10 ** len(parts[0].partition(".")[2])
