"""Activations, losses and optimizers: one record for each.

To add one, write its definition as a NumPy function in `activations.py`, `losses.py` or `optimizers.py`, with its
formula as the first line of the docstring and its parameters as keyword-only arguments, and register it there with the
forms that the classes `Activation`, `Loss` and `Optimizer` describe: PyTorch's, for the reference trainer, and the
fused one, which the stacked trainer needs. It can then be named in a grid file, planned, trained and reported; nothing
else lists it. `tests/functions/test_functions.py` compares the forms.
"""
