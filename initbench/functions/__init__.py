"""Activations, losses and optimizers."""
