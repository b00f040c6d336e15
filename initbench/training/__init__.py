"""Training: stacks of cells as one program, a plain trainer of one cell that it is held to, and the worker."""
