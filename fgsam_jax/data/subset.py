"""A small part of a re-identification set, for trials: whole people, listed in a CSV file."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fgsam_jax.data.checks import Splits, cameras, has_match, identities
from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import PART_OF, Attribute
from fgsam_jax.metrics import UNLABELLED
from fgsam_jax.metrics.protocol import UNKNOWN_CAMERA, is_person


def draw_subset(splits: Splits, images: int, seed: int) -> dict[str, list[Crop]]:
    """About so many training images and a test set in proportion, of whole people.

    People of train are drawn until their images reach the number. The same share of the people
    with a query and a match are drawn for query and gallery, two at least, and the same share of
    the other people of the gallery, of its distractors and of its junk.

    Args:
      splits: train, query and gallery.
      images: of train; the last person drawn may exceed it.
      seed: of the draw.

    Raises:
      InputError: train or query has nobody to draw.
    """
    random = np.random.default_rng(seed)
    train, counts = _counts(splits["train"])
    query, gallery = splits["query"], splits["gallery"]
    asked = np.unique(identities(query)[has_match(query, gallery)])
    if not len(train) or not len(asked):
        raise InputError("a subset needs people in train, and queries with a match in the gallery")
    order = random.permutation(len(train))
    needed = 1 + int(np.searchsorted(np.cumsum(counts[order]), images))
    chosen = train[order[:needed]]
    share = len(chosen) / len(train)

    test = _draw(random, asked, max(2, round(share * len(asked))))
    others = np.setdiff1d(_counts(gallery)[0], identities(query))
    nobody = np.flatnonzero(~is_person(identities(gallery)))
    people = {*test, *_draw(random, others, round(share * len(others)))}
    rows = set(_draw(random, nobody, round(share * len(nobody))))
    return {
        "train": [crop for crop in splits["train"] if crop.identity in {*chosen}],
        "query": [crop for crop in query if crop.identity in {*test}],
        "gallery": [
            crop for row, crop in enumerate(gallery) if crop.identity in people or row in rows
        ],
    }


def write_csv(
    path: Path, splits: Mapping[str, Sequence[Crop]], attributes: Sequence[Attribute]
) -> None:
    """The crops as the set `folder` reads them.

    Columns: path (absolute), identity (-1 junk, 0 distractor), camera if all are known, split, and
    one for each attribute with the names of classes, empty where not labelled. An attribute of
    which only one class is left teaches nothing and has no column.

    Raises:
      InputError: the file cannot be written.
    """
    crops = list(itertools.chain(*splits.values()))
    known = bool((cameras(crops) > UNKNOWN_CAMERA).all())
    kinds = [kind for kind in attributes if len({_class(kind, crop) for crop in crops} - {""}) > 1]
    columns = ["path", "identity", *(["camera"] if known else []), "split", *map(_column, kinds)]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for split, some in splits.items():
                for crop in some:
                    camera = [crop.camera] if known else []
                    labels = [_class(kind, crop) for kind in kinds]
                    writer.writerow([crop.path.resolve(), crop.identity, *camera, split, *labels])
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _counts(crops: Sequence[Crop]) -> tuple[np.ndarray, np.ndarray]:
    """The people, sorted, and how many images each has."""
    people = identities(crops)
    return np.unique(people[is_person(people)], return_counts=True)


def _draw(random: np.random.Generator, values: np.ndarray, number: int) -> np.ndarray:
    return random.permutation(values)[:number]


def _column(kind: Attribute) -> str:
    """The name of an attribute's column; a part that its name does not tell stands before it."""
    return kind.name if PART_OF.get(kind.name) == kind.part else f"{kind.part}.{kind.name}"


def _class(kind: Attribute, crop: Crop) -> str:
    value = crop.attributes.get(kind.name, UNLABELLED)
    return "" if value == UNLABELLED else kind.classes[value]
