"""The peer in JAX: vmap over the models, lax.scan over the steps, optax for the update, all compiled beforehand.

A trainer like those in `benchmarks.peers.pytorch`. JAX and optax are imported when one is made, and need not be
installed.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.work import Data, to_logits
from initbench.spec.cell import Cell
from initbench.training.parameters import initial_parameters

EVALUATION_BATCH = 1000


def on_device(data: Data) -> Data:
    """The data as JAX's arrays, one copy for all trainers."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    copied: Data = jax.tree.map(jax.numpy.asarray, data)
    return copied


class Scan:
    """Models of one activation and loss as one program; `data` comes from `on_device`."""

    def __init__(self, cells: Sequence[Cell], data: Data, rows: np.ndarray) -> None:
        import jax
        import optax
        from jax import numpy as jnp

        first = cells[0]
        optimizer = {"sgd": optax.sgd, "adam": optax.adam}[first.optimizer](first.rate(1))
        functions = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "softmax": jax.nn.softmax}
        hidden = functions.get(first.activation)
        last = (lambda z: z) if to_logits(first) else functions[first.output_activation]

        def forward(parameters: Any, x: Any) -> Any:
            for W, b in parameters[:-1]:
                x = hidden(x @ W + b)
            W, b = parameters[-1]
            return last(x @ W + b)

        def compare(output: Any, one_hot: Any) -> Any:
            if first.loss == "mse":
                return ((output - one_hot) ** 2).mean()
            return -(one_hot * jax.nn.log_softmax(output)).sum(1).mean()

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            return compare(forward(parameters, x), y)

        gradients = jax.vmap(jax.value_and_grad(loss), in_axes=(0, None, None))

        def train(trained: Any, images: Any, one_hot: Any, rows: Any) -> Any:
            def step(trained: Any, batch: Any) -> Any:
                parameters, state = trained
                values, g = gradients(parameters, images[batch], one_hot[batch])
                updates, state = optimizer.update(g, state, parameters)  # elementwise: for all models at once
                return (optax.apply_updates(parameters, updates), state), values

            return jax.lax.scan(step, trained, rows)

        def measures(parameters: Any, x: Any, y: Any) -> Any:
            output = forward(parameters, x)
            return jnp.stack([compare(output, y), (output.argmax(1) == y.argmax(1)).mean()])

        def evaluate(parameters: Any, images: Any, one_hot: Any) -> Any:
            size = min(EVALUATION_BATCH, len(images))
            pieces = images.reshape(-1, size, images.shape[1]), one_hot.reshape(-1, size, one_hot.shape[1])
            every = jax.vmap(measures, in_axes=(0, None, None))
            return jax.lax.map(lambda piece: every(parameters, *piece), pieces).mean(0)

        arrays = [initial_parameters(cell, cell.layers(784, 10)) for cell in cells]
        parameters = jax.tree.map(lambda *several: jnp.stack(several), *arrays)
        self.trained = parameters, optimizer.init(parameters)
        self.train_arguments = data.train.images, data.train.one_hot, jnp.asarray(rows)
        self.splits = [(split.images, split.one_hot) for split in (data.validation, data.test)]
        compiled = jax.jit(train, donate_argnums=0).lower(self.trained, *self.train_arguments)
        self.train_all = compiled.compile()
        self.evaluate_on = [jax.jit(evaluate).lower(parameters, *split).compile() for split in self.splits]

    def train(self) -> np.ndarray:
        """Take the steps; the losses before each."""
        self.trained, losses = self.train_all(self.trained, *self.train_arguments)
        return np.asarray(losses)

    def evaluate(self) -> np.ndarray:
        """Loss and accuracy of each model on both splits."""
        metrics = [run(self.trained[0], *split) for run, split in zip(self.evaluate_on, self.splits, strict=True)]
        return np.concatenate([np.asarray(array) for array in metrics], 1)
