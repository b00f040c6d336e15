"""Data sets: the embedded MNIST, files in several formats, names and where they lie, and what own functions load."""
