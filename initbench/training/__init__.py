"""Training: the stacked trainer, the plain loop, which trains all other cells, and the worker process."""
