"""What is wrong with a data set, found before hours of training are spent on it.

Every check is a pure function of crops, files or joints and returns problems. A problem is fatal
if training on the set would fail or its figures would be worthless:

- an image that is missing or does not decode;
- a split without images, or no query with a match in the gallery;
- people or images of the training split in query or gallery;
- cameras known for some images of query and gallery only, which no evaluation rule covers;
- fewer images than were published;
- no known joint, joints that are no numbers, or most of them outside of their crop or on one spot.

The others are warnings: such a set can be trained on and measured, perhaps not as meant.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.data.images import read_image
from fgsam_jax.data.splits import SPLITS, WHOLE, draw_splits
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

# Joints of a cut-off person may lie outside of the crop, those of another image mostly do.
MOSTLY, RARELY = 0.5, 0.05
# A person whose joints span less of the crop's height than this has them in other units.
_SPOT = 0.03
# Fewer people who face the camera say nothing about the sides.
_FACING = 20

Splits = Mapping[str, Sequence[Crop]]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a set.

    Attributes:
      text: one line.
      cases: where it was found, if that helps: a line for each.
      fatal: whether it would spoil a training.
    """

    text: str
    cases: tuple[str, ...] = ()
    fatal: bool = False


@dataclass(frozen=True)
class File:
    """An image file.

    Attributes:
      digest: the same for the same bytes.
      size: (height, width) in pixels.
      fault: why it cannot be used, or empty.
    """

    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


def inspect(path: Path) -> File:
    """Read and decode one image file; it never raises for what a file holds."""
    try:
        encoded, image = read_image(path)
    except (InputError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, UnidentifiedImageError):
            return File(fault="not an image of a known format")  # Pillow names its buffer
        reason = getattr(cause, "strerror", None) or str(cause)
        return File(fault=" ".join(reason.split()))
    return File(hashlib.blake2b(encoded, digest_size=16).digest(), (image.height, image.width))


def inspect_all(paths: Iterable[Path], progress: Callable[[], object]) -> dict[Path, File]:
    """Every file, on all cores; `progress` is called after each."""
    unique = list(dict.fromkeys(paths))
    found = {}
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for path, file in zip(unique, pool.map(inspect, unique), strict=True):
            found[path] = file
            progress()
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def drawn_splits(splits: Splits, seed: int) -> Splits:
    """The splits as training sees them: of a set published without, they are drawn."""
    if set(splits) != {WHOLE}:
        return splits
    crops = splits[WHOLE]
    drawn = draw_splits(identities(crops), seed)
    return {split: [crops[row] for row in rows] for split, rows in drawn.items()}


def identities(crops: Sequence[Crop]) -> np.ndarray:
    """int64 [n]."""
    return np.array([crop.identity for crop in crops], np.int64)


def cameras(crops: Sequence[Crop]) -> np.ndarray:
    """int64 [n]; 0 where it is not known."""
    return np.array([crop.camera for crop in crops], np.int64)


def check_crops(splits: Splits, files: Mapping[Path, File]) -> list[Problem]:
    """All that can be said of crops in the splits train, query and gallery."""
    empty = [split for split in SPLITS if not splits.get(split)]
    if empty:
        return [Problem(f"there is no image in {' and '.join(empty)}", fatal=True)]
    return [
        *shared_identities(splits),
        *repeated_images(splits, files),
        *unmatched_queries(splits["query"], splits["gallery"]),
        *doubtful_cameras(splits),
        *missing_labels(splits),
    ]


def unusable_images(files: Mapping[Path, File]) -> list[Problem]:
    """Files that are missing or do not decode."""
    cases = tuple(f"{path}: {file.fault}" for path, file in files.items() if file.fault)
    text = (
        f"image files that cannot be used: {len(cases):,} of {len(files):,}; unpack the set again"
    )
    return [Problem(text, cases, fatal=True)] if cases else []


def shared_identities(splits: Splits) -> list[Problem]:
    """People who are in the training split and in query or gallery."""
    train = _people(splits["train"])
    found = []
    for split in ("query", "gallery"):
        shared = sorted(train & _people(splits[split]))
        if shared:
            text = f"identities of train that are also in {split}: {len(shared):,}"
            found.append(Problem(text, tuple(f"identity {person}" for person in shared), True))
    return found


def repeated_images(splits: Splits, files: Mapping[Path, File]) -> list[Problem]:
    """The same bytes twice: in train and test, in query and gallery, or within a split."""
    groups: dict[bytes, list[tuple[str, Crop]]] = defaultdict(list)
    for split, crops in splits.items():
        for crop in crops:
            if crop.path in files and not files[crop.path].fault:
                groups[files[crop.path].digest].append((split, crop))
    repeated = [group for group in groups.values() if len(group) > 1]

    places = [[split for split, _ in group] for group in repeated]

    def cases(chosen: Iterable[bool]) -> tuple[str, ...]:
        """The chosen groups, told by name."""
        return tuple(_told(group) for group, yes in zip(repeated, chosen, strict=True) if yes)

    leaks = cases("train" in place and len(set(place)) > 1 for place in places)
    both = cases({"query", "gallery"} <= set(place) for place in places)
    problems = []
    if leaks:
        text = f"LEAK: images of train that are also in query or gallery: {len(leaks):,}"
        problems.append(Problem(text, leaks, fatal=True))
    if both:
        problems.append(Problem(f"query images that are also gallery images: {len(both):,}", both))
    for split in splits:
        within = cases(place.count(split) > 1 for place in places)
        if within:
            text = f"images that are more than once in {split}, the same bytes: {len(within):,}"
            problems.append(Problem(text, within))
    return problems


def unmatched_queries(query: Sequence[Crop], gallery: Sequence[Crop]) -> list[Problem]:
    """Queries whose person is not in the gallery, or by the query's own camera alone."""
    matches = has_match(query, gallery)
    if matches.all():
        return []
    known = bool(cameras(query).any())
    where = "in the gallery from another camera" if known else "in the gallery"
    if not matches.any():
        return [Problem(f"no query has a match {where}: nothing can be measured", fatal=True)]
    cases = tuple(crop.name for crop, match in zip(query, matches, strict=True) if not match)
    text = f"queries without a match {where}: {len(cases):,} of {len(query):,}; they are left out"
    return [Problem(text, cases)]


def has_match(query: Sequence[Crop], gallery: Sequence[Crop]) -> np.ndarray:
    """Which queries have someone to find, bool [n]: a gallery image of the same person.

    Where cameras are known it must be from another camera, as in Market-1501's protocol.
    """
    seen: dict[int, set[int]] = defaultdict(set)
    for crop in gallery:
        if crop.identity > 0:
            seen[crop.identity].add(crop.camera)
    return np.array(
        [
            bool(seen[crop.identity] - ({crop.camera} if crop.camera else set()))
            if crop.identity in seen
            else False
            for crop in query
        ]
    )


def doubtful_cameras(splits: Splits) -> list[Problem]:
    """Cameras known for some images only, or a gallery of one camera."""
    found = []
    for names in (("train",), ("query", "gallery")):
        known = np.concatenate([cameras(splits[name]) for name in names]) > 0
        if known.any() and not known.all():
            lacking = f"{(~known).sum():,} of {len(known):,}"
            text = (
                f"images of {' and '.join(names)} without a camera: {lacking}; give all one or none"
            )
            found.append(Problem(text, fatal="query" in names))
    only = np.unique(cameras([crop for crop in splits["gallery"] if crop.identity > 0]))
    if len(only) == 1 and only[0]:
        found.append(Problem(f"the gallery shows people by camera {only[0]} only"))
    return found


def missing_labels(splits: Splits) -> list[Problem]:
    """No attribute in the training split, or some that only query and gallery have."""
    train, *test = (_labelled(splits[split]) for split in SPLITS)
    if not train:
        return [Problem("no training image has an attribute: the parts learn from identities only")]
    lacking = sorted(set().union(*test) - train)
    if not lacking:
        return []
    text = f"no training image has the attributes {', '.join(lacking)}, which the test images have"
    return [Problem(text)]


def check_published(splits: Splits, published: Mapping[str, tuple[int, int]]) -> list[Problem]:
    """Numbers that differ from the published (images, identities above 0) of each split."""
    found = []
    for split, (images, people) in published.items():
        crops = splits.get(split, ())
        if len(crops) != images:
            text = f"images of {split}: published {images:,}, found {len(crops):,}"
            found.append(Problem(text, fatal=len(crops) < images))
        if len(_people(crops)) != people:
            text = f"identities of {split}: published {people:,}, found {len(_people(crops)):,}"
            found.append(Problem(text))
    return found


def check_joints(joints: np.ndarray, height: int, width: int, split: str) -> list[Problem]:
    """Joints that cannot be meant for their crops.

    Args:
      joints: [n, people, 18, 3] as in `Table`; the first person is the one the crop shows.
      height, width: of the crops in pixels.
      split: for the text.
    """
    first, labelled = joints[:, 0], joints[:, 0, :, 2] > 0
    if not labelled.any():
        return [Problem(f"no crop of {split} has a labelled joint", fatal=True)]
    if not np.isfinite(joints).all():
        return [Problem(f"some joints of {split} are not numbers", fatal=True)]
    found = []
    x, y = first[..., 0], first[..., 1]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    outside = float((~inside)[labelled].mean())
    if outside > RARELY:
        text = f"{100 * outside:.1f} % of the joints of {split} lie outside of their crop"
        fatal = outside > MOSTLY
        found.append(Problem(text + ": are they of these images?" * fatal, fatal=fatal))
    several = labelled.sum(1) > 1
    low = np.where(labelled, y, np.inf).min(1)[several]
    high = np.where(labelled, y, -np.inf).max(1)[several]
    if len(low) and float(np.mean(high - low < _SPOT * height)) > MOSTLY:
        text = f"most people of {split} have all joints on one spot: are they in pixels?"
        found.append(Problem(text, fatal=True))
    people, right = sides(joints)
    if people >= _FACING and right < 0.5:
        text = (
            f"left and right seem swapped in {split}: of {people:,} people whose nose is visible "
            f"only {100 * right:.0f} % have the right shoulder on the left of the picture"
        )
        found.append(Problem(text))
    return found


def sides(joints: np.ndarray) -> tuple[int, float]:
    """People who face the camera, and the share of them with the right shoulder further left.

    Whoever has a visible nose faces the camera, and then the right arm is on the picture's left.
    """
    nose, right, left = (
        joints[:, :, JOINTS.index(name)] for name in ("nose", "right_shoulder", "left_shoulder")
    )
    facing = (nose[..., 2] == 2) & (right[..., 2] > 0) & (left[..., 2] > 0)
    as_meant = right[..., 0] < left[..., 0]
    return int(facing.sum()), float(as_meant[facing].mean()) if facing.any() else 0.0


def _people(crops: Sequence[Crop]) -> set[int]:
    return {crop.identity for crop in crops if crop.identity > 0}


def _labelled(crops: Sequence[Crop]) -> set[str]:
    """The attributes that some crop is labelled with."""
    return {name for crop in crops for name, value in crop.attributes.items() if value >= 0}


def _told(group: Sequence[tuple[str, Crop]]) -> str:
    """Files with the same bytes, and whether they are said to show different people."""
    people = sorted({crop.identity for _, crop in group})
    names = " = ".join(f"{split}/{crop.name}" for split, crop in group)
    differ = f", under the identities {', '.join(map(str, people))}" if len(people) > 1 else ""
    return names + differ
