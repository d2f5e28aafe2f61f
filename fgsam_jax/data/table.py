"""A split as arrays."""

import functools
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fgsam_jax.data.splits import SPLITS, WHOLE, draw_splits
from fgsam_jax.data.table_cache import cached_arrays
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.labels.skeleton import STRIDE
from fgsam_jax.metrics import UNLABELLED
from fgsam_jax.metrics.protocol import is_person

if TYPE_CHECKING:
    from fgsam_jax.data.datasets.builder import LocalBuilder


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
      contents: uint64 [n], the same for files of the same bytes; None if they are not known.
    """

    images: Any
    names: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    attributes: dict[str, np.ndarray]
    kinds: tuple[Attribute, ...] = ()
    joints: np.ndarray | None = None
    mask: np.ndarray | None = None
    contents: np.ndarray | None = None

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
        known = is_person(self.identities)
        labels = np.searchsorted(np.unique(self.identities[known]), self.identities)
        return np.where(known, labels, UNLABELLED).astype(np.int32)

    @functools.cached_property
    def digest(self) -> str:
        """A short name for the rows: the bytes of their files, and all that is said of them."""
        digest = hashlib.sha256("\0".join(self.names.tolist()).encode())
        known = [self.contents, self.joints, self.mask]
        for column in [self.identities, self.cameras, *self.attributes.values(), *known]:
            if column is not None:
                digest.update(np.ascontiguousarray(column).data)
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
            contents=None if self.contents is None else self.contents[rows],
        )


def load_table(
    builder: "LocalBuilder", split: str, height: int, width: int, *, seed: int = 0
) -> Table:
    """One split of prepared records as a table, images resized to height x width (bilinear).

    Args:
      builder: a builder whose records are written, see `datasets.records.open_builder`.
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
    arrays = cached_arrays(builder, split, height, width)
    kinds = builder.attributes()
    names = [attribute.name for attribute in kinds]
    attributes = dict(zip(names, np.array(arrays.pop("attributes")), strict=True))
    # Small columns are used whole and often: only the large arrays stay on disk.
    small = ("names", "identities", "cameras", "contents")
    columns = {name: np.array(arrays.pop(name)) for name in small}
    return Table(attributes=attributes, kinds=kinds, **columns, **arrays)
