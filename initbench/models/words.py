"""Built-in models in words: their blocks, one after another, for the command line and the documentation."""

from initbench.models.architecture import (
    Activation,
    Block,
    Blocks,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Normalization,
    Pooling,
    Residual,
    built,
)

# Words of the settings that stand between layers.
SETTINGS: dict[type, str] = {Activation: "activation", Normalization: "normalization", Dropout: "dropout"}


def in_words(blocks: Blocks, normalization: str = "none", dropout: float = 0.0) -> str:
    """Return a sequence of blocks in words; those that repeat are counted.

    >>> in_words((Convolution(6, 5, padding=2), Activation(), Pooling("max", 2), Flatten(), Dense(10)))
    'convolution of 6 filters 5 × 5, padding 2 → activation → max pooling 2 × 2 → dense 10'
    """
    parts = [
        _in_words(block, normalization, dropout)
        for block in built(blocks, normalization, dropout)
        if not isinstance(block, Flatten)
    ]
    counted: list[tuple[str, int]] = []
    for part in parts:
        if counted and counted[-1][0] == part:
            counted[-1] = part, counted[-1][1] + 1
        else:
            counted.append((part, 1))
    return " → ".join(f"{count} × {part}" if count > 1 else part for part, count in counted)


def _in_words(block: Block, normalization: str, dropout: float) -> str:
    if isinstance(block, Convolution):
        more = f", stride {block.stride}" * (block.stride > 1) + f", padding {block.padding}" * (block.padding > 0)
        return f"convolution of {block.channels} filters {block.size} × {block.size}{more}"
    if isinstance(block, Dense):
        return f"dense {block.width}"
    if isinstance(block, Pooling):
        size = f"{block.size} × {block.size}" if block.size else "of the whole image"
        return f"{block.kind} pooling {size}"
    if isinstance(block, Residual):
        return f"[x + ({in_words(block.blocks, normalization, dropout)})]"
    return SETTINGS[type(block)]
