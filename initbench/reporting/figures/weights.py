"""A scheme's weights: their histogram with the scheme's distribution, matrix, singular values, and units' norms."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from initbench.reporting.figures.drawing import METADATA
from initbench.reporting.figures.style import PLAIN, style
from initbench.reporting.limits import MAX_BAR, MAX_DRAWN_UNITS, MAX_TILES, N_BINS

STYLE = {**sns.axes_style("ticks"), **PLAIN}


def histogram(W: NDArray[Any], distribution: Any = None) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Edges `[bins + 1]`, the share of the weights in each bin, and the share under `distribution`, or None."""
    low, high = float(W.min()), float(W.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, N_BINS + 1)
    shares = np.histogram(W, edges)[0] / W.size
    return edges, shares, None if distribution is None else np.diff(distribution.cdf(edges))


def images(W: NDArray[Any]) -> NDArray[Any]:
    """The first units' weights as square images of their inputs, side by side in a square, with lines between them."""
    side = math.isqrt(len(W))
    tiles = np.full((MAX_TILES, side + 1, MAX_TILES, side + 1), np.nan)
    for n in range(min(MAX_TILES**2, W.shape[1])):
        tiles[n // MAX_TILES, :side, n % MAX_TILES, :side] = W[:, n].reshape(side, side)
    return tiles.reshape(MAX_TILES * (side + 1), -1)[:-1, :-1]


def lines(W: NDArray[Any], distribution: Any = None) -> list[str]:
    """The lines that describe weights in a terminal: moments, a histogram, singular values, and norms of units.

    In the histogram `|` marks the share of each bin under `distribution`, where there is one.
    """
    text = [f"mean {W.mean():.4g}, standard deviation {W.std():.4g}, from {W.min():.4g} to {W.max():.4g}"]
    if distribution is not None:
        text.append(
            f"the distribution (| below): mean {distribution.mean():.4g}, standard deviation {distribution.std():.4g}"
        )
    edges, shares, expected = histogram(W, distribution)
    widest = max(shares.max(), 0.0 if expected is None else expected.max())
    for i, share in enumerate(shares):
        bar = "█" * round(MAX_BAR * share / widest)
        if expected is not None:
            at = round(MAX_BAR * expected[i] / widest)
            bar = bar.ljust(at + 1)
            bar = bar[:at] + "|" + bar[at + 1 :]
        text.append(f"{(edges[i] + edges[i + 1]) / 2:9.3g}  {bar.rstrip()}")
    if W.ndim > 1:
        flat = W.reshape(-1, W.shape[-1])
        singular = np.linalg.svd(flat, compute_uv=False)
        norms = np.linalg.norm(flat, axis=0)
        text += [
            f"singular values: from {singular.min():.4g} to {singular.max():.4g}, median {np.median(singular):.4g}",
            f"norms of the units' weights: mean {norms.mean():.4g}, from {norms.min():.4g} to {norms.max():.4g}",
        ]
    return text


def picture(
    panels: Sequence[str],
    W: NDArray[Any],
    distribution: Any = None,
    title: str = "",
    *,
    form: str = "png",
    dpi: float = 150,
) -> bytes:
    """Return `figure` as a file: `form` is `png`, `svg` or `pdf`. The same weights have the same bytes."""
    buffer = io.BytesIO()
    with style(STYLE):
        figure(panels, W, distribution, title).savefig(buffer, format=form, dpi=dpi, metadata=METADATA[form])
    return buffer.getvalue()


def figure(panels: Sequence[str], W: NDArray[Any], distribution: Any = None, title: str = "") -> Figure:
    """The weights as a figure with some of the panels `histogram`, `weights`, `images`, `singular values`, `norms`."""
    flat = W.reshape(-1, W.shape[-1])
    with style(STYLE):
        canvas = Figure(figsize=(3.6 * len(panels), 2.6), layout="constrained")
        for ax, panel in zip(np.atleast_1d(canvas.subplots(1, len(panels))), panels, strict=True):
            if panel == "histogram":
                edges, shares, _ = histogram(W, distribution)
                ax.stairs(shares / np.diff(edges), edges, fill=True, color="#9ecae1")
                if distribution is not None:
                    x = np.linspace(edges[0], edges[-1], 400)[1:-1]
                    ax.plot(x, distribution.pdf(x), color="#08306b", lw=1.2)
                ax.set(xlabel="weight", ylabel="density")
            elif panel in ("weights", "images"):
                drawn = flat[:MAX_DRAWN_UNITS, :MAX_DRAWN_UNITS] if panel == "weights" else images(flat)
                end = float(np.nanmax(np.abs(drawn))) or 1.0
                canvas.colorbar(ax.imshow(drawn, cmap="RdBu_r", vmin=-end, vmax=end, interpolation="nearest"), ax=ax)
                if panel == "weights":
                    ax.set(xlabel="unit", ylabel="input")
                else:
                    ax.set(xlabel="units, their weights as images", xticks=[], yticks=[])
            elif panel == "singular values":
                ax.plot(np.linalg.svd(flat, compute_uv=False), ".", ms=3, color="#08306b")
                ax.set(xlabel="rank", ylabel="singular value")
                ax.set_ylim(bottom=0)
            else:
                norms = np.linalg.norm(flat, axis=0)
                end = 1.1 * max(float(norms.max()), 1e-12)
                sns.histplot(norms, bins=40, binrange=(0, end), ax=ax, color="#9ecae1")
                ax.set(xlabel="norm of a unit's weights", ylabel="units")
            if panel != "images":
                ax.locator_params(axis="x", nbins=4)
            sns.despine(ax=ax)
        if title:
            canvas.suptitle("\n".join(textwrap.wrap(title, 40 * len(panels))), fontsize=10)
    return canvas
