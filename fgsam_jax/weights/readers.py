"""Files of other frameworks to named arrays. Nothing that a file holds is ever run.

What a file declares is held against what it has before anything of that size is made, so that a
small file cannot ask for much memory.
"""

import hashlib
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import read_bytes, regular_file
from fgsam_jax.weights import caffe
from fgsam_jax.weights.torch_files import one_line, read_torch

_LARGEST = 4 << 30  # bytes of a file and of what it holds; ResNet-152 with its classifier has 0.24
_SAFETENSORS = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    **{
        f"{kind}{8 * size}": np.dtype(f"{kind.lower()}{size}")
        for kind in "IU"
        for size in (1, 2, 4, 8)
    },
    "BOOL": np.dtype(bool),
}


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their own names.

    Args:
      path: a .safetensors, a .caffemodel, a file of PyTorch (recognised by its first bytes) or a
        folder of .npy.

    Returns:
      Arrays of the type they are stored in. A Caffe blob is named `<layer>_<number>`.

    Raises:
      InputError: it is missing, broken, of another kind, or holds more than arrays.
    """
    if not os.path.lexists(path):
        raise InputError(f"there is no file or folder {path}")
    if path.is_dir():
        arrays = caffe.read_folder(path)
    elif regular_file(path, limit=_LARGEST).suffix == ".safetensors":
        arrays = _read_safetensors(path)
    elif path.suffix == ".caffemodel":
        arrays = caffe.read_model(path)
    else:
        arrays = read_torch(path)
    if not arrays:
        raise InputError(f"{path} holds no arrays")
    return arrays


def sha256(path: Path) -> str:
    """Hexadecimal checksum of a file, or of the names and bytes of all .npy of a folder."""
    total = hashlib.sha256()
    for file in sorted(path.glob("*.npy")) if path.is_dir() else [path]:
        if path.is_dir():
            total.update(file.name.encode() + b"\0")
        with regular_file(file).open("rb") as opened:
            while block := opened.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        # The library's own check of the header; its NumPy front end does not know bfloat16.
        content = read_bytes(path)
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is no whole safetensors file: {one_line(error)}") from None
    end = 8 + int.from_bytes(content[:8], "little")
    names = json.loads(content[8:end], object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    if len(set(names)) < len(names):
        raise InputError(f"{path} has two arrays of one name: it was not written by safetensors")
    unknown = [f"{name} ({t['dtype']})" for name, t in tensors if t["dtype"] not in _SAFETENSORS]
    if unknown:
        raise InputError(f"{path}: numbers of a type that is not read: {', '.join(unknown[:3])}")
    return {
        name: np.frombuffer(t["data"], _SAFETENSORS[t["dtype"]]).reshape(t["shape"])
        for name, t in tensors
    }


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself, empty for any other or broken file."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError):
        return {}
