"""Reads a variable of a MATLAB file and writes it as JSON: run by `matlab.py`, by its path.

It imports nothing of the package, which would take longer than the reading.
"""

import contextlib
import json
import math
import sys
from typing import Any

import numpy as np

_MEMORY = 4 * 2**30  # bytes; compressed files may grow without bounds
_MOST = 10_000_000  # numbers; the largest file that is known has half a million


def struct(path: str, name: str) -> Any:
    """A struct as nested objects, its fields as lists of numbers or of texts."""
    from scipy.io import loadmat

    found = loadmat(path, simplify_cells=True, variable_names=[name]).get(name)
    if not isinstance(found, dict):
        raise ValueError(f"it has no struct {name}")
    return _plain(found)


def matrix(path: str, name: str) -> Any:
    """A matrix of a file of version 7.3, which is HDF5, as a list of HDF5's rows."""
    import h5py

    with h5py.File(path) as file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"it has no {name} of its own")
        data = file[name]
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu" or data.ndim != 2:
            raise ValueError(f"its {name} is no matrix of numbers")
        if data.external or data.is_virtual:
            raise ValueError(f"its {name} lies in other files")
        if max(data.size, math.prod(data.chunks or ())) > _MOST:
            raise ValueError(f"its {name} declares the shape {data.shape}, more than is read")
        numbers = np.asarray(data[()], np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"its {name} has values that are no numbers")
    return numbers.tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(field): _plain(part) for field, part in value.items()}
    array = np.atleast_1d(value)
    if array.ndim > 1 or array.size > _MOST:
        raise ValueError(f"a field has the shape {array.shape}")
    return array.tolist()


if __name__ == "__main__":
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system has the limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        kind, *where = sys.argv[1:]
        text = json.dumps({"struct": struct, "matrix": matrix}[kind](*where), allow_nan=False)
    except Exception as error:  # readers raise almost anything on a broken file
        ours = type(error) is ValueError
        sys.exit(str(error) if ours else f"{type(error).__name__}: {error}")
    sys.stdout.write(text)
