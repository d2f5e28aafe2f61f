"""PyTorch's files to named arrays, by its own reader of weights, which runs none of their code."""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fgsam_jax.errors import InputError, printable

_NESTED = ("state_dict", "model", "model_state_dict", "network")
_DEEPEST = 8  # of such names in each other
_SHARED = 4  # times its size may be what a file declares: several names may be one array


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict. Raises InputError for a file that is none, or holds more."""
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
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")]
    # NumPy's own function would make a value of any size that a file asks for.
    places = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((_scalar, place) for place in places), np.dtype, *kinds]


def _scalar(kind: np.dtype, value: bytes) -> Any:
    return np.frombuffer(value, kind, 1)[0]


def _state_dict(path: Path, held: Any) -> Mapping:
    """The mapping that holds the weights, found under the usual names."""
    for _ in range(_DEEPEST):
        if not isinstance(held, Mapping):
            raise InputError(f"{path} holds a {type(held).__name__}, needed a state dict")
        if any(hasattr(value, "untyped_storage") for value in held.values()):
            return held
        inner = [held[name] for name in _NESTED if isinstance(held.get(name), Mapping)]
        if not inner:
            keys = ", ".join(printable(key) for key in list(held)[:5])
            raise InputError(
                f"{path} holds no weights at its top nor under {', '.join(_NESTED)}: found {keys}"
            )
        held = inner[0]
    raise InputError(f"{path} holds no weights under {_DEEPEST} names in each other")


def _arrays(path: Path, weights: Mapping, torch: Any) -> Iterator[tuple[str, np.ndarray]]:
    total, most = 0, _SHARED * path.stat().st_size
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            continue
        try:
            size, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
            if size > stored:
                raise InputError(
                    f"{path}: {name} declares {tuple(value.shape)}, and {stored} bytes are there"
                )
            total += size
            if total > most:
                raise InputError(
                    f"{path} declares more than {most:,} bytes, {_SHARED} times its own: save "
                    "arrays of their own, not many names of one"
                )
            value = value.detach()
            # NumPy has no bfloat16; each of its numbers is one of float32 too.
            yield str(name), (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise InputError(f"{path}: {name} is no plain array: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """An error's text, short and without line breaks; its type where it has none."""
    return printable(str(error).strip() or type(error).__name__, 200)
