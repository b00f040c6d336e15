"""Settings of Matplotlib that would change every figure that heeds them."""

HOSTILE = {
    "text.usetex": True,
    "savefig.bbox": "tight",
    "font.family": "monospace",
    "font.size": 30,
    "svg.fonttype": "path",
    "svg.hashsalt": "other",
    "axes.formatter.use_locale": True,
    "axes.formatter.use_mathtext": True,
    "axes.unicode_minus": False,
    "axes.xmargin": 0.4,
    "figure.autolayout": True,
    "figure.dpi": 37,
    "savefig.dpi": 11,
    "path.sketch": (3, 100, 2),
    "lines.marker": "x",
    "xtick.top": True,
    "axes.titlelocation": "left",
    "image.cmap": "jet",
}
