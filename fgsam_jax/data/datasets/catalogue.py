"""Every data set by its name."""

from pathlib import Path
from typing import TYPE_CHECKING

from fgsam_jax.errors import InputError

if TYPE_CHECKING:
    from fgsam_jax.data.datasets.builder import LocalBuilder


def builders() -> dict[str, type["LocalBuilder"]]:
    """Every data set that can be opened: {name: its builder}. A new set is one line here."""
    # TFDS takes most of a second to import, which `import fgsam_jax` should not cost.
    from fgsam_jax.data.datasets.coco import CocoKeypoints
    from fgsam_jax.data.datasets.coco_openpose import CocoOpenPose
    from fgsam_jax.data.datasets.dukemtmc import DukeMTMC
    from fgsam_jax.data.datasets.folder import Folder
    from fgsam_jax.data.datasets.market1501 import Market1501
    from fgsam_jax.data.datasets.peta import Peta

    return {
        "market1501": Market1501,
        "dukemtmc": DukeMTMC,
        "peta": Peta,
        "coco_keypoints": CocoKeypoints,
        "coco_openpose": CocoOpenPose,
        "folder": Folder,
    }


def open_set(
    name: str,
    source: str | Path,
    records: str | Path,
    attributes: str | Path | None = None,
    joints: str | Path | None = None,
    *,
    write: bool = True,
    outside: bool = False,
) -> "LocalBuilder":
    """A data set with its records on disk; they are made at the first call.

    Args:
      name: one of `builders()`.
      source: the unpacked data set.
      records: where records and decoded images are kept; it may serve several data sets.
      attributes: the attribute file; by default the one in its usual place, if it is there.
      joints: joints for the crops of a set, see `fgsam_jax.data.datasets.joint_files.read_joints`.
      write: False makes no records, see `fgsam_jax.data.datasets.records.open_builder`.
      outside: whether a CSV may name images outside of its own folder.

    Raises:
      InputError: an unknown name, or a source that is not what `name` says.
    """
    from fgsam_jax.data.datasets.records import open_builder

    choices = builders()
    if name not in choices:
        raise InputError(f"There is no data set {name!r}: choose one of {', '.join(choices)}.")
    return open_builder(
        choices[name], source, records, attributes, joints, write=write, outside=outside
    )
