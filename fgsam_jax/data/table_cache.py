"""The arrays of a table: decoded and resized once, then memory-mapped from a cache on disk.

The cache stands beside the records, in `tables/<split>-<height>x<width>`: one .npy for each array
and `table.json`, which says what it was made from and has a checksum of each. A cache that does not
match is rebuilt.
"""

import functools
import hashlib
import json
import os
import shutil
import zlib
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

    Every start reads them all once for their checksums: a second for 3 GB in memory.

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
        "columns": sorted(_columns(builder)),
        "attributes": [[a.name, a.part, *a.classes] for a in builder.attributes()],
    }


def _columns(builder: "LocalBuilder") -> set[str]:
    joints = {"joints", "mask"} if "joints" in builder.info.features else set()
    return {"images", "contents", "names", "identities", "cameras", "attributes"} | joints


def _read_cache(folder: Path, origin: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays of a cache, or None if it is missing, damaged or made from something else."""
    try:
        described = json.loads((folder / "table.json").read_text())
        if described["origin"] != origin:
            return None
        arrays = {}
        for name in origin["columns"]:
            path = folder / f"{name}.npy"
            if _checksum(path) != described["checksums"][name]:
                return None
            arrays[name] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return arrays


def _checksum(path: Path) -> int:
    """CRC-32 of a file's content, taken once while the file is as it was."""
    stat = path.stat()
    return _checksum_of_state(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@functools.cache
def _checksum_of_state(path: Path, *state: int) -> int:
    # CRC-32 finds every damage but one in four billion, at three times the speed of SHA-256.
    found = 0
    with path.open("rb", buffering=0) as file:
        while part := file.read(2**22):
            found = zlib.crc32(part, found)
    return found


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
                if outdated.is_dir():
                    shutil.rmtree(outdated)
                else:
                    outdated.unlink(missing_ok=True)
            try:
                made.mkdir()
                _write_arrays(made, builder, split, height, width)
                sums = {path.stem: _checksum(path) for path in sorted(made.glob("*.npy"))}
                described = {"origin": origin, "checksums": sums}
                (made / "table.json").write_text(json.dumps(described))
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
    from fgsam_jax.data.datasets.builder import Records

    source = Records(builder, split)
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
        content = hashlib.sha256(example.pop("image")).digest()
        return {**example, **seen, "content": int.from_bytes(content[:8], "big")}

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
        "contents": np.array([example["content"] for example in rest], np.uint64),
        "names": np.array([example["name"].decode() for example in rest]),
        "identities": np.array([example.get("identity", 0) for example in rest], np.int32),
        "cameras": np.array([example.get("camera", 0) for example in rest], np.int32),
        "attributes": np.array(
            [[example["attributes"][name] for example in rest] for name in kinds], np.int8
        ).reshape(len(kinds), rows),
    }
    if "joints" in builder.info.features:
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
