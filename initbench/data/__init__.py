"""Data sets: the embedded MNIST and folders of IDX files."""
