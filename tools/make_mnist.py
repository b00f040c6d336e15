"""Write initbench/data/mnist.npz from the four IDX files of MNIST: `python -m tools.make_mnist FOLDER`.

The result has four arrays of bytes: train_images [60000, 784], train_labels [60000], test_images [10000, 784],
test_labels [10000]. It prints the SHA-256 that initbench/data/datasets.py checks at load. It accepts only files
whose SHA-256 initbench/data/LICENSE.md lists.
"""

import hashlib
import struct
import sys
from pathlib import Path

import numpy as np

from initbench.data.arrays import Arrays
from initbench.data.catalog import IDX_STEMS
from initbench.data.datasets import MNIST_FILE, read_idx_folder

LICENSE = MNIST_FILE.with_name("LICENSE.md")


def idx_hashes(arrays: Arrays) -> dict[str, str]:
    """Return the SHA-256 of the four uncompressed IDX files, by name, from the arrays of 28 × 28 images."""
    hashes = {}
    contents = (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels)
    for stem, content in zip(IDX_STEMS, contents, strict=True):
        sizes = (len(content), 28, 28) if content.ndim == 2 else (len(content),)
        header = struct.pack(f">4B{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)
        hashes[stem] = hashlib.sha256(header + content.tobytes()).hexdigest()
    return hashes


def listed_hashes() -> dict[str, str]:
    """Return the SHA-256 of each IDX file from initbench/data/LICENSE.md."""
    lines = [line.split() for line in LICENSE.read_text(encoding="utf-8").splitlines() if line.endswith("-ubyte")]
    return {name: sha256 for sha256, name in lines}


def main(folder: str) -> None:
    """Write the file and print its SHA-256."""
    arrays = read_idx_folder(Path(folder))
    for stem, sha256 in idx_hashes(arrays).items():
        if sha256 != listed_hashes()[stem]:
            sys.exit(f"{folder}: {stem} has SHA-256 {sha256}, not {listed_hashes()[stem]}; give MNIST's four IDX files")
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
