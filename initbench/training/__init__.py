"""Training: the stacked trainer, the reference trainer that the tests compare it with, and the worker process."""
