"""Networks: their layers, the shapes of their weights, their FLOPs."""
