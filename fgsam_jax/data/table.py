"""A split as arrays: decoded and resized once, then memory-mapped from a cache.

The cache stands beside the records, in `tables/<split>-<height>x<width>`: one .npy for each array
and `table.json`, which says what it was made from. A cache that does not match is rebuilt.
"""

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from fgsam_jax.data.datasets.catalogue import open_set
from fgsam_jax.data.splits import SPLITS, WHOLE, draw_splits
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.labels.skeleton import STRIDE

if TYPE_CHECKING:
    from fgsam_jax.data.datasets.builder import LocalBuilder


# Raise this when the meaning of a cached array changes.
_VERSION = 2


class Rows:
    """Some rows of an array, read when they are indexed: a selection that copies nothing."""

    def __init__(self, array: Any, rows: np.ndarray):
        self._array, self._rows = array, rows
        self.shape, self.dtype = (len(rows), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._array[self._rows[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array[self._rows], dtype)


@dataclass(frozen=True)
class Table:
    """The rows of one split. Arrays may be memory-mapped and must not be written to.

    Attributes:
      images: uint8 RGB [n, height, width, 3], an array or `Rows` of one.
      names: text [n], unique within the set.
      identities: int32 [n]; -1 junk, 0 distractor or unknown, else the person.
      cameras: int32 [n]; 0 where it is not known.
      attributes: {attribute name: int8 [n]}, -1 unlabelled.
      kinds: the part and the classes of each attribute.
      joints: float32 [n, people, 18, 3], (x, y, state) in pixels of `images`; state 2 visible,
        1 labelled but hidden, 0 not labelled, -1 unknown to the source. Rows with fewer people
        are padded with state -1, which draws nothing and makes nothing known. None where the
        set has no joints.
      mask: float32 [n, height / 8, width / 8], the share of each cell where the pose loss
        counts, 0 to 1; None where the set has no joints.
    """

    images: Any
    names: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    attributes: dict[str, np.ndarray]
    kinds: tuple[Attribute, ...] = ()
    joints: np.ndarray | None = None
    mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """{attribute name: names of its classes}."""
        return {attribute.name: attribute.classes for attribute in self.kinds}

    @property
    def labels(self) -> np.ndarray:
        """Identities numbered without gaps for a classifier: int32 [n].

        The sorted identities above 0 become 0, 1, ...; junk and distractors get -1.
        """
        people = np.unique(self.identities[self.identities > 0])
        labels = np.searchsorted(people, self.identities)
        return np.where(self.identities > 0, labels, -1).astype(np.int32)

    @property
    def digest(self) -> str:
        """A short name for the rows: their names, people and joints."""
        digest = hashlib.sha256("\n".join(self.names.tolist()).encode())
        digest.update(np.ascontiguousarray(self.identities).data)
        if self.joints is not None:
            digest.update(np.ascontiguousarray(self.joints).data)
        return digest.hexdigest()[:16]

    def select(self, rows: np.ndarray) -> "Table":
        """The table of some rows: indices, a slice or a boolean mask. Copies no image."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            images=Rows(self.images, rows),
            names=self.names[rows],
            identities=self.identities[rows],
            cameras=self.cameras[rows],
            attributes={name: column[rows] for name, column in self.attributes.items()},
            joints=None if self.joints is None else self.joints[rows],
            mask=None if self.mask is None else self.mask[rows],
        )


def load_table(
    builder: "LocalBuilder", split: str, height: int, width: int, *, seed: int = 0
) -> Table:
    """One split of prepared records as a table, images resized to height x width (bilinear).

    Args:
      builder: a builder whose records are written, see `datasets.builder.open_builder`.
      split: one of the builder's splits. A set without published splits, whose only one is `WHOLE`,
        also has train, query and gallery, drawn by `fgsam_jax.data.splits.draw_splits`.
      height, width: size of the images in pixels; for a set with joints both must be divisible
        by 8.
      seed: of the draw.

    Raises:
      InputError: no such split, an impossible size, or the cache cannot be written.
    """
    stored = set(builder.info.splits)
    if stored == {WHOLE} and split in SPLITS:
        table = load_table(builder, WHOLE, height, width)
        return table.select(draw_splits(table.identities, seed)[split])
    if split not in stored:
        raise InputError(f"There is no split {split!r}: choose one of {', '.join(sorted(stored))}.")
    if height < 1 or width < 1:
        raise InputError(f"Image sizes must be at least 1 pixel, got {height}x{width}.")
    if "joints" in builder.info.features and (height % STRIDE or width % STRIDE):
        raise InputError(
            f"Pose targets need a height and width divisible by {STRIDE}, got {height}x{width}."
        )
    folder = Path(builder.data_dir) / "tables" / f"{split}-{height}x{width}"
    origin = _origin(builder, split, height, width)
    arrays = _read_cache(folder, origin)
    if arrays is None:
        _write_cache(folder, origin, builder, split, height, width)
        arrays = _read_cache(folder, origin)
        if arrays is None:
            raise InputError(f"The cache {folder} changed while it was read. Start again.")
    kinds = builder.attributes()
    names = [attribute.name for attribute in kinds]
    attributes = dict(zip(names, np.array(arrays.pop("attributes")), strict=True))
    # Small columns are used whole and often: only the large arrays stay on disk.
    columns = {name: np.array(arrays.pop(name)) for name in ("names", "identities", "cameras")}
    return Table(attributes=attributes, kinds=kinds, **columns, **arrays)


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


def open_table(
    name: str,
    source: str | Path,
    records: str | Path,
    split: str,
    height: int,
    width: int,
    attributes: str | Path | None = None,
    joints: str | Path | None = None,
    seed: int = 0,
) -> Table:
    """One split of a data set as arrays, see `open_set` and `load_table`."""
    builder = open_set(name, source, records, attributes, joints)
    return load_table(builder, split, height, width, seed=seed)
