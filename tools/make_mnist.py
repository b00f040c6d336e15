"""Make initbench/data/mnist.npz from the four IDX files of MNIST: `python tools/make_mnist.py FOLDER`.

The result has four arrays of bytes: train_images [60000, 784], train_labels [60000], test_images [10000, 784],
test_labels [10000]. It prints the SHA-256 that initbench/datasets.py checks at load.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

from initbench.datasets import MNIST_FILE, read_idx_folder


def main(folder: str) -> None:
    """Write the file and print its SHA-256."""
    arrays = read_idx_folder(Path(folder))
    np.savez_compressed(
        MNIST_FILE,
        train_images=arrays.train_images,
        train_labels=arrays.train_labels,
        test_images=arrays.test_images,
        test_labels=arrays.test_labels,
    )
    content = MNIST_FILE.read_bytes()
    print(f"{MNIST_FILE}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1])
