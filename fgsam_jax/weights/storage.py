"""Converted weights on disk: a safetensors file with our paths as names that describes itself."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from fgsam_jax.errors import InputError
from fgsam_jax.weights import names
from fgsam_jax.weights.readers import metadata, read

FORMAT = "fgsam_jax"


@dataclass(frozen=True)
class Weights:
    """A converted file.

    Attributes:
      module: "backbone" or "pose".
      variant: of the module.
      values: float32 by path (collection, modules, leaf), relative to the module.
    """

    module: str
    variant: str
    values: dict[names.Path, np.ndarray]


def save(
    path: Path, weights: Weights, *, source: str, sha256: str, missing: Collection = ()
) -> None:
    """Write weights, whole or not at all.

    Args:
      path: ends in .safetensors.
      weights: to be written.
      source: name of the file they came from.
      sha256: of that file.
      missing: paths that the module has and the file lacks.
    """
    about = {
        "format": FORMAT,
        "module": weights.module,
        "variant": weights.variant,
        "source": source,
        "sha256": sha256,
        "missing": str(len(missing)),
    }
    write(path, {"/".join(key): value for key, value in weights.values.items()}, about)


def write(path: Path, arrays: Mapping[str, np.ndarray], about: dict[str, str]) -> None:
    """A safetensors file, whole or not at all. Raises InputError where it cannot be written."""
    if path.suffix != ".safetensors":
        raise InputError(f"the target must end in .safetensors, got {path}")
    # The library writes an array's memory as it lies.
    flat = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(safetensors.numpy.save(flat, about))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error}") from None


def load(path: Path) -> Weights:
    """A converted file.

    Raises:
      InputError: it is not one, or broken, or holds something else than its variant has.
    """
    about = metadata(path)
    if about.get("format") != FORMAT:
        if path.is_file() and path.suffix == ".safetensors":
            read(path)  # says so where the file is broken
        raise InputError(
            f"{path} holds no converted weights: run python tools/convert_weights.py {path} --to "
            "NAME.safetensors and give that file"
        )
    module, variant = about.get("module", ""), about.get("variant", "")
    if module not in (names.BACKBONE, names.POSE):
        raise InputError(f"{path} is of the module {module!r}, needed backbone or pose")
    wanted = names.shapes(module, variant)
    values = {}
    for name, value in sorted(read(path).items()):
        key = tuple(name.split("/"))
        if key not in wanted:
            raise InputError(f"{path}: {variant} has nothing of the name {name}")
        if value.shape != wanted[key] or value.dtype != np.float32:
            raise InputError(
                f"{path}: {name} is {value.dtype.name} {value.shape}, needed float32 {wanted[key]}"
            )
        if not np.isfinite(value).all():
            raise InputError(f"{path}: {name} holds numbers that are not finite")
        values[key] = value
    return Weights(module, variant, values)
