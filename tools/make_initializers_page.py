"""Make docs/initializers.md, and its pictures, from the docstrings: `python tools/make_initializers_page.py`.

The picture of each scheme is a histogram of its weights for (784, 256), beside the law that it states.
"""

import inspect
from pathlib import Path

from initbench.initializers import INITIALIZERS
from initbench.initializers._base import with_law
from initbench.reporting import weights

DOCS = Path(__file__).parent.parent / "docs"
SHAPE = (784, 256)

INTRODUCTION = """# The initializers

Made from the docstrings by `make docs`. `initbench show NAME --shape 784,256` draws a scheme in the terminal and as a
figure. The pictures are of 784 × 256 weights at seed 0: the histogram, and as a line the law of each weight, where
there is one. W is `[fan_in, fan_out]`; φ is the network's activation. A scheme of single layers is a function of the
shape and, where it says so, of the activation and the layer's place; a scheme of networks looks at the first batches of
the training.

## What other libraries call them

| here | PyTorch | Keras 3 | JAX | the source |
| --- | --- | --- | --- | --- |
| `uniform` | `uniform_` | `RandomUniform` | `uniform` is U(0, scale) | |
| `normal` | `normal_` | `RandomNormal` | `normal` | |
| `truncated_normal` | `trunc_normal_`, bounds in the units of the weights | `TruncatedNormal` | `truncated_normal` | |
| `glorot_uniform` | `xavier_uniform_` | `GlorotUniform` | `glorot_uniform` | Glorot & Bengio 2010, eq. 16 |
| `glorot_normal` | `xavier_normal_` | not truncated: none | none | the paper has no normal one |
| `glorot_truncated_normal` | none | `GlorotNormal` | `glorot_normal` | |
| `he_uniform` | `kaiming_uniform_` | `HeUniform` | `he_uniform` | He et al. 2015 |
| `he_normal` | `kaiming_normal_` | none | none | He et al. 2015, eq. 10: not truncated |
| `he_truncated_normal` | none | `HeNormal` | `he_normal` | |
| `lecun_normal` | none | none | none | LeCun et al. 1998, eq. 16 |
| `lecun_truncated_normal` | none | `LecunNormal` | `lecun_normal`, Flax' default | |
| `torch_linear_default` | `nn.Linear` | none | none | |
| `keras_default` | none | `Dense` | none | |
| `orthogonal` | `orthogonal_` | `Orthogonal` | `orthogonal` | Saxe et al. 2014 |
| `delta_orthogonal` | none | none | `delta_orthogonal` | Xiao et al. 2018 |
| `identity`, `dirac` | `eye_`, `dirac_` | `Identity`, none | none | |
| `sparse` | none | none | none | Martens 2010 |
| `torch_sparse` | `sparse_`, which limits what leaves an input | none | none | departs from Martens 2010 |
| `zero_hadamard` | none | none | none | the authors' code; the paper's constant is √2 larger |
"""


def main() -> None:
    """Write the page and the pictures."""
    (DOCS / "initializers.md").write_text(page(), encoding="utf-8")
    pictures = DOCS / "initializers"
    pictures.mkdir(exist_ok=True)
    for name in pictured():
        entry = INITIALIZERS[name]
        W, law = with_law(lambda function=entry.function: function(SHAPE, seed=0))
        weights.figure(["histogram"], W, law).savefig(pictures / f"{name}.png", dpi=72)


def pictured() -> list[str]:
    """The schemes that fill 784 × 256 weights."""
    return [n for n, entry in INITIALIZERS.items() if "single-layer" in entry.tags and entry.fit.test(SHAPE)]


def page() -> str:
    """The page as Markdown."""
    text = [INTRODUCTION]
    for name, entry in INITIALIZERS.items():
        told = (inspect.getdoc(entry.function) or "").partition(">>>")[0].strip()
        text.append(f"\n## {name}\n\n`{entry.signature}`\n\n{told}\n\nFits {entry.fit.words}")
        text[-1] += "; and biases.\n" if "bias" in entry.tags else ".\n"
        if name in pictured():
            text.append(f"\n![{name}](initializers/{name}.png)\n")
    return "".join(text)


if __name__ == "__main__":
    main()
