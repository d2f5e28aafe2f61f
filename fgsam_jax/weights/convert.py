"""From the arrays of a recognised file to weights of ours, all of them checked."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fgsam_jax.errors import InputError, printable
from fgsam_jax.weights import names
from fgsam_jax.weights.sources import Source, recognise, unwrapped


@dataclass(frozen=True)
class Converted:
    """Weights of a module of ours.

    Attributes:
      module: "backbone" or "pose".
      variant: of the module.
      weights: float32 by path.
      missing: paths that the module has and the source lacks.
      lines: what was recognised, taken, left and is missing, for people.
    """

    module: str
    variant: str
    weights: dict[names.Path, np.ndarray]
    missing: list[names.Path]
    lines: list[str]


def import_weights(
    arrays: Mapping[str, np.ndarray], *, variant: str = "", partial: bool = False
) -> Converted:
    """Weights of a foreign file under our names and in our layout.

    Args:
      arrays: by the names of the file.
      variant: which backbone the weights are for, where it is not the one recognised: another
        form of the same depth, or another depth, which takes the stem and the first stages that
        agree.
      partial: allow weights to be missing.

    Raises:
      InputError: a weight is missing, unknown, of a wrong shape or not finite; the message names
        it.
    """
    source = recognise(arrays, variant)
    arrays = source.prepare(dict(arrays))
    left = _left(arrays, source)
    absent = [key for key in source.keys.values() if key not in arrays]
    if absent and not partial:
        raise InputError(
            f"{source.title} should also have {some(absent)}: the file is incomplete. "
            "--partial takes what is there"
        )
    shapes = names.shapes(source.module, source.variant)
    weights = source.finish(
        {
            path: _ours(arrays[key], key, shapes[path], source.output_first)
            for path, key in source.keys.items()
            if key in arrays
        }
    )
    found = Converted(source.module, source.variant, weights, [], [])
    if variant:
        found, unused = _for_variant(found, variant, partial)
        left |= {f"not for {variant}": [source.keys[path] for path in unused]} if unused else {}
    missing = [
        path for path in names.shapes(found.module, found.variant) if path not in found.weights
    ]
    numbers = sum(weight.size for weight in found.weights.values())
    lines = [
        f"recognised: {source.title}",
        f"taken: {len(found.weights)} arrays of {numbers:,} numbers for the {found.module} "
        f"{found.variant}",
        *(f"left: {some(keys)} ({reason})" for reason, keys in left.items()),
        *([f"missing in the source: {some(absent)}"] if absent else []),
        f"still needed, drawn new when training starts: {_modules(missing)}",
    ]
    return replace(found, missing=missing, lines=lines)


def _left(arrays: Mapping[str, np.ndarray], source: Source) -> dict[str, list[str]]:
    """Names that are left behind, by reason. Raises InputError for one that is unknown."""
    used = set(source.keys.values())
    left: dict[str, list[str]] = {}
    unknown = []
    for name in arrays:
        if name in used:
            continue
        bare = (name, unwrapped(name), name.removeprefix(source.before))
        reasons = (
            why for pattern, why in source.left.items() if any(re.match(pattern, n) for n in bare)
        )
        reason = next(reasons, None)
        if reason is None:
            unknown.append(name)
        else:
            left.setdefault(reason, []).append(name)
    if unknown:
        raise InputError(f"{source.title} has nothing of the name {some(unknown)}")
    return left


def _ours(array: np.ndarray, key: str, shape: tuple[int, ...], output_first: bool) -> np.ndarray:
    """One weight in float32, [height, width, in, out]. Raises InputError if it does not fit."""
    kernel = len(shape) == 4
    wanted = tuple(shape[axis] for axis in (3, 2, 0, 1)) if kernel and output_first else shape
    if array.shape != wanted:
        raise InputError(f"{key} has the shape {array.shape}, needed {wanted}")
    # bfloat16 is a type of its own for NumPy, of the kind "V".
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise InputError(f"{key} holds {array.dtype.name}, needed floating-point numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{key} holds numbers that are not finite: the file is not usable")
    if kernel and output_first:
        array = array.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(array)


def _for_variant(
    found: Converted, variant: str, partial: bool
) -> tuple[Converted, list[names.Path]]:
    """The same weights for another backbone, and the paths that it does not take.

    A network of another depth can use the stem and each first stage of as many blocks: what such
    a stage computes is the same in both.
    """
    if found.module != names.BACKBONE:
        raise InputError(f"these weights are of a {found.module} net, not of {variant}")
    wanted = names.shapes(names.BACKBONE, variant)
    have = names.shapes(names.BACKBONE, found.variant)
    agree = {path for path in wanted if wanted[path] == have.get(path)}
    usable: set[names.Path] = set()
    for stage in ("", "layer1", "layer2", "layer3", "layer4"):
        both = {path for path in wanted | have if _stage(path) == stage}
        if not both <= agree:
            break
        usable |= both
    if not usable or (usable != set(have) and not partial):
        raise InputError(
            f"the weights of {found.variant} do not fit {variant} whole; --partial takes the stem "
            "and the first stages that agree"
        )
    weights = {path: value for path, value in found.weights.items() if path in usable}
    unused = [path for path in found.weights if path not in usable]
    return replace(found, variant=variant, weights=weights), unused


def _stage(path: names.Path) -> str:
    return path[1].split("_")[0] if path[1].startswith("layer") else ""


def some(keys: Iterable[str], most: int = 3) -> str:
    """The first of many names, and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(printable(key) for key in keys[:most]) + more


def _modules(paths: list[names.Path]) -> str:
    counts = Counter(path[1] for path in paths)
    return some((f"{name} ({count})" for name, count in counts.items()), 8) or "nothing"
