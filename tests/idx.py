"""Folders of small IDX files."""

import struct

import numpy as np


def write_folder(folder, images=24, labels=24, test=6, side=3, pack=bytes, label=lambda number, count: number % 3):
    generator = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for stem, count in (("train", images), ("t10k", test)):
        pixels = generator.integers(0, 256, (count, side, side), np.uint8)
        content = struct.pack(">4B3I", 0, 0, 8, 3, count, side, side) + pixels.tobytes()
        (folder / f"{stem}-images-idx3-ubyte{'.gz' * (pack is not bytes)}").write_bytes(pack(content))
    for stem, count in (("train", labels), ("t10k", test)):
        content = struct.pack(">4BI", 0, 0, 8, 1, count) + label(np.arange(count), count).astype(np.uint8).tobytes()
        (folder / f"{stem}-labels-idx1-ubyte{'.gz' * (pack is not bytes)}").write_bytes(pack(content))
    return folder
