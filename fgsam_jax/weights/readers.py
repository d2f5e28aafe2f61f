"""Files of other frameworks to named arrays. Nothing that a file holds is ever run.

What a file declares is held against what it has before anything of that size is made, so that a
small file cannot ask for much memory.
"""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors

from fgsam_jax.errors import InputError
from fgsam_jax.weights import caffe

_LARGEST = 4 << 30  # bytes of a file and of what it holds; ResNet-152 with its classifier has 0.24
_NESTED = ("state_dict", "model", "model_state_dict", "network")
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
    if path.is_dir():
        arrays = caffe.read_folder(path)
    elif not path.is_file():
        raise InputError(f"there is no file or folder {path}")
    elif path.stat().st_size > _LARGEST:
        raise InputError(
            f"{path} has {path.stat().st_size >> 30} GiB, more than any known backbone"
        )
    elif path.suffix == ".safetensors":
        arrays = _read_safetensors(path)
    elif path.suffix == ".caffemodel":
        arrays = caffe.read_model(path)
    else:
        arrays = _read_torch(path)
    if not arrays:
        raise InputError(f"{path} holds no arrays")
    return arrays


def sha256(path: Path) -> str:
    """Hexadecimal checksum of a file, or of the names and bytes of all .npy of a folder."""
    total = hashlib.sha256()
    for file in sorted(path.glob("*.npy")) if path.is_dir() else [path]:
        if path.is_dir():
            total.update(file.name.encode() + b"\0")
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        # The library's own check of the header; its NumPy front end does not know bfloat16.
        tensors = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is no whole safetensors file: {one_line(error)}") from None
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


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(b"PK"):
        _check_zip(path)
    elif not start.startswith(b"\x80"):
        raise InputError(
            f"{path} is no file of weights that is known here: needed .safetensors, .pth, "
            ".caffemodel or a folder of .npy"
        )
    try:
        import torch
    except ImportError:
        raise InputError(
            f'{path} is a file of PyTorch, which is not installed: pip install -e ".[convert]", '
            "or convert a .safetensors of the same weights"
        ) from None
    try:
        with torch.serialization.safe_globals(_numbers()):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global|class) ([\w.]+\.[\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise InputError(
            f"{path} holds more than weights{what}, which could run code: refused unread. Save "
            "its state dict alone, torch.save(model.state_dict(), ...), where it can be trusted"
        ) from None
    except Exception as error:  # a broken file makes it raise almost anything
        raise InputError(f"{path} is no whole file of PyTorch: {one_line(error)}") from None
    return dict(_arrays(path, _state_dict(path, held), torch))


def _check_zip(path: Path) -> None:
    """PyTorch stores its members as they are; a compressed one could grow without bounds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is no whole file of PyTorch: {one_line(error)}") from None
    declared = sum(member.file_size for member in members)
    if declared > path.stat().st_size or any(member.compress_type for member in members):
        raise InputError(
            f"{path} is no file of PyTorch: its {path.stat().st_size} bytes declare {declared}, or "
            "are compressed"
        )


def _numbers() -> list:
    """NumPy's plain numbers, which training scripts keep beside the weights."""
    from numpy._core.multiarray import scalar

    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def _state_dict(path: Path, held: Any) -> Mapping:
    """The mapping that holds the weights, found under the usual names."""
    if isinstance(held, Mapping):
        if any(hasattr(value, "untyped_storage") for value in held.values()):
            return held
        for name in _NESTED:
            if isinstance(held.get(name), Mapping):
                return _state_dict(path, held[name])
        keys = ", ".join(str(key) for key in list(held)[:5])
        raise InputError(
            f"{path} holds no weights at its top nor under {', '.join(_NESTED)}: found {keys}"
        )
    raise InputError(f"{path} holds a {type(held).__name__}, needed a state dict")


def _arrays(path: Path, weights: Mapping, torch: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            continue
        try:
            size, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
            if size > stored:
                raise InputError(
                    f"{path}: {name} declares {tuple(value.shape)}, and {stored} bytes are there"
                )
            value = value.detach()
            # NumPy has no bfloat16; each of its numbers is one of float32 too.
            yield str(name), (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise InputError(f"{path}: {name} is no plain array: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """An error's text, short and without line breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__
