"""Plugins: a user's own initializers, activations, losses and optimizers, from files or from Python.

A plugin's code runs in processes of its own, never in the one that reads the grid file: there its functions are known
by their records alone.
"""
