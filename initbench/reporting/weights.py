"""A scheme's weights, drawn: their histogram beside the law that the scheme states, their matrix, singular values, and
the norms of units.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initbench.data import datasets
from initbench.initializers import Model, schemes
from initbench.training.parameters import Batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 31
BAR = 40  # characters of the longest bar in a terminal
CORNER = 64  # inputs and units of a drawn matrix: the first ones
TILES = 6  # units, drawn as images, in a row and in a column


def on_mnist(scheme: str, shape: tuple[int, ...], activation: str, seed: int) -> NDArray[Any]:
    """The first layer's weights, by a scheme of whole networks, of a network with one hidden layer on MNIST.

    They are those of a cell with this seed, cross-entropy, batches of 128 and zero biases. ValueError where the shape
    is no first layer of it, and where the scheme says so.
    """
    data = datasets.load_mnist()
    images, labels = data.train_images[data.validation_size :], data.train_labels[data.validation_size :]
    pixels = images.shape[1]
    if len(shape) != 2 or shape[0] != pixels:
        raise ValueError(
            f"{scheme} looks at MNIST here, and its shape is {pixels},UNITS: give --shape {pixels},256, say"
        )
    batches = Batches(seed, len(images), 128, lambda rows: (images[rows] / 255.0, labels[rows].astype(np.int64)))
    model = Model(((pixels, shape[1]), (shape[1], data.classes)), batches, activation=activation)
    return schemes.parameters(scheme, "zeros", model, seed)[0][0]


def histogram(W: NDArray[Any], law: Any = None) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Edges `[bins + 1]`, the share of the weights in each bin, and the share that the law says, or None."""
    low, high = float(W.min()), float(W.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    shares = np.histogram(W, edges)[0] / W.size
    return edges, shares, None if law is None else np.diff(law.cdf(edges))


def images(W: NDArray[Any]) -> NDArray[Any]:
    """The first units' weights, of inputs that are the pixels of a square image, side by side in a square."""
    side = math.isqrt(len(W))
    shown = np.full((TILES, side + 1, TILES, side + 1), np.nan)  # a line between them
    for n in range(min(TILES**2, W.shape[1])):
        shown[n // TILES, :side, n % TILES, :side] = W[:, n].reshape(side, side)
    return shown.reshape(TILES * (side + 1), -1)[:-1, :-1]


def lines(W: NDArray[Any], law: Any = None) -> list[str]:
    """The weights as text: their moments, a histogram (`|` where the law says), singular values, and units' norms."""
    flat = W.reshape(-1, W.shape[-1])
    text = f"mean {W.mean():.4g}, standard deviation {W.std():.4g}, from {W.min():.4g} to {W.max():.4g}"
    told = [text]
    if law is not None:
        told.append(f"the law (| below): mean {law.mean():.4g}, standard deviation {law.std():.4g}")
    edges, shares, expected = histogram(W, law)
    widest = max(shares.max(), 0.0 if expected is None else expected.max())
    for i, share in enumerate(shares):
        bar = "█" * round(BAR * share / widest)
        if expected is not None:
            at = round(BAR * expected[i] / widest)
            bar = bar.ljust(at + 1)
            bar = bar[:at] + "|" + bar[at + 1 :]
        told.append(f"{(edges[i] + edges[i + 1]) / 2:9.3g}  {bar.rstrip()}")
    if W.ndim > 1:
        singular = np.linalg.svd(flat, compute_uv=False)
        norms = np.linalg.norm(flat, axis=0)
        told.append(
            f"singular values: from {singular.min():.4g} to {singular.max():.4g}, median {np.median(singular):.4g}"
        )
        told.append(
            f"norms of the units' weights: mean {norms.mean():.4g}, from {norms.min():.4g} to {norms.max():.4g}"
        )
    return told


def picture(
    panels: Sequence[str], W: NDArray[Any], law: Any = None, title: str = "", *, form: str = "png", dpi: float = 150
) -> bytes:
    """`figure` as a file: `form` is `png`, `svg` or `pdf`.

    The same weights have the same bytes, whatever the user's settings of matplotlib.
    """
    from initbench.reporting.figures import DATELESS

    buffer = io.BytesIO()
    with _style():
        figure(panels, W, law, title).savefig(buffer, format=form, dpi=dpi, metadata=DATELESS[form])
    return buffer.getvalue()


def _style() -> AbstractContextManager[None]:
    import seaborn as sns

    from initbench.reporting.style import PLAIN, style

    return style({**sns.axes_style("ticks"), **PLAIN})


def figure(panels: Sequence[str], W: NDArray[Any], law: Any = None, title: str = "") -> "Figure":
    """The weights as a figure with some of the panels `histogram`, `weights`, `images`, `singular values`, `norms`."""
    import seaborn as sns
    from matplotlib.figure import Figure

    flat = W.reshape(-1, W.shape[-1])
    with _style():
        made = Figure(figsize=(3.6 * len(panels), 2.6), layout="constrained")
        for ax, panel in zip(np.atleast_1d(made.subplots(1, len(panels))), panels, strict=True):
            if panel == "histogram":
                edges, shares, _ = histogram(W, law)
                ax.stairs(shares / np.diff(edges), edges, fill=True, color="#9ecae1")
                if law is not None:
                    x = np.linspace(edges[0], edges[-1], 400)[1:-1]
                    ax.plot(x, law.pdf(x), color="#08306b", lw=1.2)
                ax.set(xlabel="weight", ylabel="density")
            elif panel in ("weights", "images"):
                drawn = flat[:CORNER, :CORNER] if panel == "weights" else images(flat)
                end = float(np.nanmax(np.abs(drawn))) or 1.0
                made.colorbar(ax.imshow(drawn, cmap="RdBu_r", vmin=-end, vmax=end, interpolation="nearest"), ax=ax)
                if panel == "weights":
                    ax.set(xlabel="unit", ylabel="input")
                else:
                    ax.set(xlabel="units, their weights as images", xticks=[], yticks=[])
            elif panel == "singular values":
                ax.plot(np.linalg.svd(flat, compute_uv=False), ".", ms=3, color="#08306b")
                ax.set(xlabel="place", ylabel="singular value")
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
            made.suptitle("\n".join(textwrap.wrap(title, 40 * len(panels))), fontsize=10)
    return made
