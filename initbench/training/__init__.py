"""Training: stacks of cells as one program, the plain trainer as their reference, and the worker process."""
