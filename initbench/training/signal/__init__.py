"""The signal in a network: how large activations and gradients are, layer by layer, before and after training."""
