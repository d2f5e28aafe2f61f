"""Data sets: from a folder of images to the arrays of a split."""

from pathlib import Path
from typing import TYPE_CHECKING

from fgsam_jax.data.table import Table, load_table
from fgsam_jax.errors import InputError

if TYPE_CHECKING:
    from fgsam_jax.data.records import LocalBuilder

__all__ = ["Table", "builders", "load_table", "open_table"]


def builders() -> dict[str, type["LocalBuilder"]]:
    """Every data set that can be opened: {name: its builder}. A new set is one line here."""
    # TFDS takes most of a second to import, which `import fgsam_jax` should not cost.
    from fgsam_jax.data.coco import CocoKeypoints
    from fgsam_jax.data.market1501 import Market1501
    from fgsam_jax.data.openpose import CocoOpenPose

    return {
        "coco_keypoints": CocoKeypoints,
        "coco_openpose": CocoOpenPose,
        "market1501": Market1501,
    }


def open_table(
    name: str,
    source: str | Path,
    records: str | Path,
    split: str,
    height: int,
    width: int,
    attributes: str | Path | None = None,
) -> Table:
    """One split of a data set as arrays; records and cache are made at the first call.

    Args:
      name: "market1501" or "coco_keypoints".
      source: the unpacked data set.
      records: where records and decoded images are kept; it may serve several data sets.
      split: "train", "query" or "gallery" of Market-1501, "train" or "val" of COCO.
      height, width: size of the images in pixels.
      attributes: the attribute file; by default the one in its usual place, if it is there.

    Raises:
      InputError: an unknown name or split, or a source that is not what `name` says.
    """
    from fgsam_jax.data.records import open_builder

    choices = builders()
    if name not in choices:
        raise InputError(f"There is no data set {name!r}: choose one of {', '.join(choices)}.")
    builder = open_builder(choices[name], source, records, attributes)
    return load_table(builder, split, height, width)
