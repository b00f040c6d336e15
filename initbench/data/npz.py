"""NumPy's `.npz` files of images and labels, without pickled objects."""

import zipfile
from pathlib import Path

import numpy as np

from initbench.data import conversion
from initbench.data.arrays import Arrays
from initbench.errors import UserError
from initbench.system import files

# The largest content, unpacked.
MAX_BYTES = 4_000_000_000


def read(path: Path) -> Arrays:
    """Read a `.npz` file with the keys of `conversion.from_mapping`; UserError, naming the file and the key."""
    try:
        files.check_regular(path)
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(f"{path}: unpacks to {size:,} bytes; allowed: {MAX_BYTES:,}")
        with np.load(path, allow_pickle=False) as content:
            return conversion.from_mapping(content, f"{path}: ")
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; dataset = {{ npz = … }} takes a file of numpy.savez") from None
    except MemoryError:
        raise UserError(f"{path}: too large for this machine's memory") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path}: has an array of Python objects, which could execute code and is not read; save arrays of "
                "integers or floats, such as images.astype('uint8')"
            ) from None
        raise _unreadable(path, error) from None
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{path}: not a valid .npz file ({reason}); save it again with numpy.savez")
