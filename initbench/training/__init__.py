"""Training: the stacked trainer, the plain loop, which trains what has no fused form, and the worker process."""
