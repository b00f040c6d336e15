"""Activations, losses and optimizers: one record for each.

To add one, write its definition as a NumPy function in `activations.py`, `losses.py` or `optimizers.py`, with its
formula as the first line of the docstring and its parameters as keyword-only arguments, and register it there with the
forms that the classes `Activation`, `Loss` and `Optimizer` describe: PyTorch's, and the fused one, which the stacked
trainer needs: without it the plain loop trains, three to fifteen times as slowly. It can then be named in a grid file,
planned, trained and reported; nothing else lists it. `tests/functions/test_functions.py` compares the forms.
"""
