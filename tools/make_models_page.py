"""Make docs/reference/models.md from the models' docstrings, blocks and layers: `python -m tools.make_models_page`."""

from pathlib import Path

from initbench.errors import shape_text
from initbench.initializers._base import fans
from initbench.models import words
from initbench.models.built_in import MODELS, PERCEPTRON, architecture_of, blocks_of
from initbench.registry import documentation

DOCS = Path(__file__).parent.parent / "docs" / "reference"
SHAPE, CLASSES, HIDDEN = (28, 28, 1), 10, "128"

INTRODUCTION = """# The models

The setting `model` of a [grid file](grid.md) is the network: one of the models below, with its parameters, or a
[`torch.nn.Module` of your own](../how-to/own-network.md). This page is generated from the docstrings by `make docs`;
`initbench show lenet5 --shape 32,32,3` prints a section of it for images of another size.

```toml
[grid]
model = ["lenet5", { name = "convnet", pooling = "global" }, "perceptron"]

[model]
hidden = [128]                        # widths of hidden layers; only of the perceptron
normalization = "batch"               # or "layer"; default: "none"
dropout = 0.2                         # default: 0
```

- **What the initializer fills**: the weights of every dense layer, convolution and embedding. The bias initializer
  fills their biases. All other parameters keep the values that the module starts with: those of normalization a scale
  of 1 and a shift of 0. The report and `initbench plan` count these parameters.
- **Fans**: weights are `[fan_in, fan_out]`, those of a convolution `[height, width, channels_in, channels_out]`;
  [initializers](initializers.md#which-networks-they-fit) defines the fans of each kind of layer.
- **`activation`** is applied where the blocks below have it, **`output_activation`** after the last layer.
- **`normalization`** comes before each activation, **`dropout`** after it. The residual perceptron has normalization at
  the start of each block and before the last activation, and dropout within its blocks. Own models have neither
  setting: they have layers of their own for it.
- **How they train**: plain perceptrons train together, in [stacks](../explanation/glossary.md#how-it-is-trained); all
  other models train one after another in an ordinary PyTorch loop. In both, a run's result depends on its settings
  alone: [the method](../explanation/method.md#reproducibility).

Below are the blocks and layers for images of 28 × 28 × 1 and ten classes, such as MNIST. `4 × block` is a block four
times, and `[x + (…)]` adds a branch to its input.
"""


def main() -> None:
    """Write the page."""
    (DOCS / "models.md").write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    return INTRODUCTION + "".join(map(_section, MODELS))


def _section(name: str) -> str:
    record = MODELS[name]
    network = architecture_of(name, HIDDEN, "none", SHAPE, CLASSES)
    hidden = ", `hidden = [128]`" * (name == PERCEPTRON)
    description = documentation(record.function).partition(">>>")[0].strip()
    rows = ["| weights | fan_in | fan_out | parameters |", "| --- | --- | --- | --- |"]
    for layer in network.layers:
        fan_in, fan_out = fans(layer.shape)
        rows.append(
            f"| {shape_text(layer.shape)} | {fan_in:,} | {fan_out:,} | {layer.weight_count + layer.shape[-1]:,} |"
        )
    rows.append(f"| **all** | | | **{network.parameter_count:,}** |")
    blocks = words.in_words(blocks_of(name, HIDDEN, CLASSES))
    return f"\n## {name}\n\n`{record.signature}`{hidden}\n\n{description}\n\n`{blocks}`\n\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
