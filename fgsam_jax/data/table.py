"""A split as arrays: decoded and resized once, then memory-mapped from a cache.

The cache stands beside the records, in `tables/<split>-<height>x<width>`: one .npy for each array
and `table.json`, which says what it was made from. A cache that does not match is rebuilt.
"""

import io
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from fgsam_jax.errors import InputError

if TYPE_CHECKING:
    from fgsam_jax.data.records import LocalBuilder

# Raise this when the meaning of a cached array changes.
_VERSION = 1
_STRIDE = 8


@dataclass(frozen=True)
class Table:
    """The rows of one split. Arrays may be memory-mapped and must not be written to.

    Attributes:
      images: uint8 RGB [n, height, width, 3].
      names: text [n], unique within the set.
      identities: int32 [n]; -1 junk, 0 distractor or unknown, else the person.
      cameras: int32 [n].
      attributes: {attribute name: int8 [n]}, -1 unlabelled.
      classes: {attribute name: names of its classes}.
      joints: float32 [n, people, 18, 3], (x, y, state) in pixels of `images`; state 2 visible,
        1 labelled but hidden, 0 not labelled, -1 unknown to the source. Rows with fewer people
        are padded with state -1, which draws nothing and makes nothing known. None where the
        set has no joints.
      mask: float32 [n, height / 8, width / 8], the share of each cell where the pose loss
        counts, 0 to 1; None where the set has no joints.
    """

    images: np.ndarray
    names: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    attributes: dict[str, np.ndarray]
    classes: dict[str, tuple[str, ...]]
    joints: np.ndarray | None = None
    mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> np.ndarray:
        """Identities numbered without gaps for a classifier: int32 [n].

        The sorted identities above 0 become 0, 1, ...; junk and distractors get -1.
        """
        people = np.unique(self.identities[self.identities > 0])
        labels = np.searchsorted(people, self.identities)
        return np.where(self.identities > 0, labels, -1).astype(np.int32)

    def select(self, rows: np.ndarray) -> "Table":
        """The table of some rows: indices, a slice or a boolean mask."""
        return replace(
            self,
            images=self.images[rows],
            names=self.names[rows],
            identities=self.identities[rows],
            cameras=self.cameras[rows],
            attributes={name: column[rows] for name, column in self.attributes.items()},
            joints=None if self.joints is None else self.joints[rows],
            mask=None if self.mask is None else self.mask[rows],
        )


def load_table(builder: "LocalBuilder", split: str, height: int, width: int) -> Table:
    """One split of prepared records as a table, images resized to height x width (bilinear).

    Args:
      builder: a builder whose records are written, see `fgsam_jax.data.records.open_builder`.
      split: one of the builder's splits.
      height, width: size of the images in pixels; for a set with joints both must be divisible
        by 8.

    Raises:
      InputError: no such split, an impossible size, or the cache cannot be written.
    """
    splits = builder.info.splits
    if split not in splits:
        raise InputError(f"There is no split {split!r}: choose one of {', '.join(sorted(splits))}.")
    if height < 1 or width < 1:
        raise InputError(f"Image sizes must be at least 1 pixel, got {height}x{width}.")
    has_joints = "joints" in builder.info.features
    if has_joints and (height % _STRIDE or width % _STRIDE):
        raise InputError(
            f"Pose targets need a height and width divisible by {_STRIDE}, got {height}x{width}."
        )
    folder = Path(builder.data_dir) / "tables" / f"{split}-{height}x{width}"
    origin = _origin(builder, split, height, width)
    arrays = _read_cache(folder, origin)
    if arrays is None:
        _write_cache(folder, origin, builder, split, height, width)
        arrays = _read_cache(folder, origin)
        if arrays is None:
            raise InputError(f"The cache {folder} changed while it was read. Start again.")
    classes = _classes(builder)
    attributes = dict(zip(classes, np.array(arrays.pop("attributes")), strict=True))
    # Small columns are used whole and often: only the large arrays stay on disk.
    columns = {name: np.array(arrays.pop(name)) for name in ("names", "identities", "cameras")}
    return Table(attributes=attributes, classes=classes, **columns, **arrays)


def _classes(builder: "LocalBuilder") -> dict[str, tuple[str, ...]]:
    features = builder.info.features
    if "attributes" not in features:
        return {}
    labels = features["attributes"]
    return {name: tuple(labels[name].names) for name in labels}


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
        "classes": [[name, *names] for name, names in _classes(builder).items()],
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
        # Built under another name and renamed, so that an interrupted build is never found.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as scratch:
            made = Path(scratch) / folder.name
            made.mkdir()
            _write_arrays(made, builder, split, height, width)
            sizes = {path.stem: path.stat().st_size for path in sorted(made.glob("*.npy"))}
            (made / "table.json").write_text(json.dumps({"origin": origin, "bytes": sizes}))
            if folder.exists():
                os.replace(folder, Path(scratch) / "outdated")
            os.replace(made, folder)
    except OSError as error:
        # Another process may have put the same cache in place a moment earlier.
        if _read_cache(folder, origin) is None:
            raise InputError(
                f"The decoded images could not be written to {folder}: {error}. Free some space "
                f"or name another folder for the records."
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

    def place(row: int) -> dict[str, Any]:
        """Decodes one example's image into its row and returns the rest."""
        example = source[row]
        with Image.open(io.BytesIO(example.pop("image"))) as image:
            size = image.size
            rgb = image.convert("RGB")
        images[row] = np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))
        if "joints" in example:
            example["joints"] = _scale_joints(example["joints"], size, (width, height))
            example["mask"] = _scale_mask(example["mask"], (width // _STRIDE, height // _STRIDE))
        return example

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

    classes = _classes(builder)
    columns = {
        "names": np.array([example["name"].decode() for example in rest]),
        "identities": np.array([example.get("identity", 0) for example in rest], np.int32),
        "cameras": np.array([example.get("camera", 0) for example in rest], np.int32),
        "attributes": np.array(
            [[example["attributes"][name] for example in rest] for name in classes], np.int8
        ).reshape(len(classes), rows),
    }
    if "joints" in features:
        columns["joints"] = _pad_people([example["joints"] for example in rest])
        columns["mask"] = np.stack([example["mask"] for example in rest])
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)


def _scale_joints(joints: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Joints [people, 18, 3] after an image of (width, height) `old` was resized to `new`.

    A pixel's centre is its whole-numbered coordinate, so its corner lies half a pixel before it.
    """
    scaled = joints.astype(np.float32)
    scaled[..., :2] = (scaled[..., :2] + 0.5) * (np.array(new, np.float32) / old) - 0.5
    return scaled


def _scale_mask(encoded: bytes, size: tuple[int, int]) -> np.ndarray:
    """The PNG mask averaged over the cells of a grid of (width, height) `size`, from 0 to 1."""
    with Image.open(io.BytesIO(encoded)) as image:
        grid = image.convert("F").resize(size, Image.Resampling.BOX)
    return np.asarray(grid, np.float32) / 255


def _pad_people(joints: list[np.ndarray]) -> np.ndarray:
    """Stacks [people, 18, 3] of differing people; the absent have state -1."""
    people = max(len(row) for row in joints)
    padded = np.zeros((len(joints), people, *joints[0].shape[1:]), np.float32)
    padded[..., 2] = -1
    for row, present in zip(padded, joints, strict=True):
        row[: len(present)] = present
    return padded
