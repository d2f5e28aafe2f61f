"""The arrays of a table: decoded and resized once, then memory-mapped from a cache on disk.

The cache stands beside the records, in `tables/<split>-<height>x<width>`: one .npy for each array
and `table.json`, which says what it was made from. A cache that does not match is rebuilt.
"""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from fgsam_jax.errors import InputError

if TYPE_CHECKING:
    from fgsam_jax.data.datasets.builder import LocalBuilder

# Raise this when the meaning of a cached array changes.
_VERSION = 3


def cached_arrays(
    builder: "LocalBuilder", split: str, height: int, width: int
) -> dict[str, np.ndarray]:
    """The columns of `Table` by name, the attributes as one of int8 [attributes, n].

    Args:
      builder: a builder whose records are written.
      split: one of its own.
      height, width: of the images in pixels.

    Raises:
      InputError: the cache cannot be written.
    """
    folder = Path(builder.data_dir) / "tables" / f"{split}-{height}x{width}"
    origin = _origin(builder, split, height, width)
    arrays = _read_cache(folder, origin)
    if arrays is None:
        _write_cache(folder, origin, builder, split, height, width)
        arrays = _read_cache(folder, origin)
        if arrays is None:
            raise InputError(f"The cache {folder} changed while it was read. Start again.")
    return arrays


def _origin(builder: "LocalBuilder", split: str, height: int, width: int) -> dict[str, Any]:
    """What the arrays are made from, as it stands in `table.json`."""
    records = []
    for path in sorted(Path(builder.data_dir).glob(f"*-{split}.array_record*")):
        stat = path.stat()
        records.append([path.name, stat.st_size, stat.st_mtime_ns])
    return {
        "version": _VERSION,
        "split": split,
        "rows": builder.info.splits[split].num_examples,
        "height": height,
        "width": width,
        "records": records,
        "attributes": [[a.name, a.part, *a.classes] for a in builder.attributes()],
    }


def _read_cache(folder: Path, origin: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays of a cache, or None if it is missing, cut short or made from something else."""
    try:
        described = json.loads((folder / "table.json").read_text())
        if described["origin"] != origin:
            return None
        arrays = {}
        for name, size in described["bytes"].items():
            path = folder / f"{name}.npy"
            if path.stat().st_size != size:
                return None
            arrays[name] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return arrays


def _write_cache(
    folder: Path,
    origin: dict[str, Any],
    builder: "LocalBuilder",
    split: str,
    height: int,
    width: int,
) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Of several processes one decodes; the others wait and find the cache made.
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if _read_cache(folder, origin) is not None:
                return
            # Built under another name and renamed, so that an interrupted build is never found;
            # what a killed one has left goes first.
            made = folder.parent / f".{folder.name}.building"
            for outdated in (made, folder):
                if outdated.exists():
                    shutil.rmtree(outdated)
            try:
                made.mkdir()
                _write_arrays(made, builder, split, height, width)
                sizes = {path.stem: path.stat().st_size for path in sorted(made.glob("*.npy"))}
                (made / "table.json").write_text(json.dumps({"origin": origin, "bytes": sizes}))
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"The decoded images could not be written to {folder}: {error}. Free some space or "
            f"name another folder for the records."
        ) from error


def _write_arrays(
    folder: Path, builder: "LocalBuilder", split: str, height: int, width: int
) -> None:
    import tensorflow_datasets as tfds

    features = builder.info.features
    skip = {name: tfds.decode.SkipDecoding() for name in ("image", "mask") if name in features}
    source = builder.as_data_source(split=split, decoders=skip)
    rows = len(source)
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(rows, height, width, 3)
    )

    if hasattr(os, "posix_fallocate"):
        # A write into a mapped file ends the process if the disk is full then: ask for it now.
        with (folder / "images.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, (folder / "images.npy").stat().st_size)

    def place(row: int) -> dict[str, Any]:
        """Decodes one example's image into its row and returns the rest."""
        example = source[row]
        seen = builder.view(example, height, width)
        images[row] = seen.pop("image")
        del example["image"]
        return {**example, **seen}

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        # Only a build that takes long shows a bar.
        bar = tqdm(
            pool.map(place, range(rows)),
            desc=f"decoding {split} at {height}x{width}",
            total=rows,
            unit=" images",
            delay=1,
            leave=False,
            disable=None,
        )
        rest = list(bar)
    finally:
        # An interrupted build must not wait for the images still queued.
        pool.shutdown(cancel_futures=True)
    images.flush()

    kinds = [attribute.name for attribute in builder.attributes()]
    columns = {
        "names": np.array([example["name"].decode() for example in rest]),
        "identities": np.array([example.get("identity", 0) for example in rest], np.int32),
        "cameras": np.array([example.get("camera", 0) for example in rest], np.int32),
        "attributes": np.array(
            [[example["attributes"][name] for example in rest] for name in kinds], np.int8
        ).reshape(len(kinds), rows),
    }
    if "joints" in features:
        columns["joints"] = _pad_people([example["joints"] for example in rest])
        columns["mask"] = np.stack([example["mask"] for example in rest])
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)


def _pad_people(joints: list[np.ndarray]) -> np.ndarray:
    """Stacks [people, 18, 3] of differing people; the absent have state -1."""
    people = max(1, *(len(row) for row in joints))
    padded = np.zeros((len(joints), people, *joints[0].shape[1:]), np.float32)
    padded[..., 2] = -1
    for row, present in zip(padded, joints, strict=True):
        row[: len(present)] = present
    return padded
