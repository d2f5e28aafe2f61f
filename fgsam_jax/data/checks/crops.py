"""Crops of a set for re-identification: matches, cameras, labels and published numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fgsam_jax.data.checks.files import File
from fgsam_jax.data.checks.leaks import repeated_images, shared_identities
from fgsam_jax.data.checks.problem import Problem
from fgsam_jax.data.checks.splits import Splits, cameras, identities, people_of
from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.data.splits import SPLITS
from fgsam_jax.metrics.protocol import DISTRACTOR, UNKNOWN_CAMERA, Protocol, is_person


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
        *perhaps_from_zero(*map(identities, splits.values())),
        *missing_labels(splits),
    ]


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

    Where the query's camera is known it must be from another camera, as in Market-1501's protocol.
    """
    if not query or not gallery:
        return np.zeros(len(query), bool)
    taken_by = cameras(query)
    # A camera that is not known is no other image's either.
    taken_by = np.where(taken_by == UNKNOWN_CAMERA, UNKNOWN_CAMERA - 1, taken_by)
    protocol = Protocol(
        identities(query), taken_by, identities(gallery), cameras(gallery), "drop_same_identity"
    )
    return protocol.has_positive()


def doubtful_cameras(splits: Splits) -> list[Problem]:
    """Cameras known for some images only, or a gallery of one camera."""
    found = []
    for names in (("train",), ("query", "gallery")):
        known = np.concatenate([cameras(splits[name]) for name in names]) > UNKNOWN_CAMERA
        if known.any() and not known.all():
            lacking = f"{(~known).sum():,} of {len(known):,}"
            text = (
                f"images of {' and '.join(names)} without a camera: {lacking}; give all one or none"
            )
            found.append(Problem(text, fatal="query" in names))
    gallery = splits["gallery"]
    only = np.unique(cameras(gallery)[is_person(identities(gallery))])
    if len(only) == 1 and only[0]:
        found.append(Problem(f"the gallery shows people by camera {only[0]} only"))
    return found


def perhaps_from_zero(*numbers: np.ndarray) -> list[Problem]:
    """Whether identity 0 may be a person: of people counted from 0 one would be lost.

    That is so where nearly all numbers up to the highest are in use, and 0 has no more images than
    a person: real distractors are many.

    Args:
      numbers: the identities of each split.
    """
    everybody = np.concatenate(numbers)
    people, counts = np.unique(everybody[is_person(everybody)], return_counts=True)
    zeros = int((everybody == DISTRACTOR).sum())
    if not zeros or len(people) < 0.9 * people.max(initial=1) or zeros > counts.max(initial=0):
        return []
    text = (
        f"images of the identity 0, taken for distractors, who are nobody: {zeros:,}; if they show "
        f"a person, number all people from 1"
    )
    return [Problem(text)]


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
        if len(people_of(crops)) != people:
            text = f"identities of {split}: published {people:,}, found {len(people_of(crops)):,}"
            found.append(Problem(text))
    return found


def _labelled(crops: Sequence[Crop]) -> set[str]:
    """The attributes that some crop is labelled with."""
    return {name for crop in crops for name, value in crop.attributes.items() if value >= 0}
