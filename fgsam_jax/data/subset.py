"""Other splits of a re-identification set, for trials: whole people, listed in a CSV file."""

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
    train = _counts(splits["train"])[0]
    query, gallery = splits["query"], splits["gallery"]
    asked = np.unique(identities(query)[has_match(query, gallery)])
    if not len(train) or not len(asked):
        raise InputError("a subset needs people in train, and queries with a match in the gallery")
    chosen = _people_of(splits["train"], images, random)
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


def hold_out(
    splits: Splits,
    people: int,
    seed: int,
    images: int | None = None,
    identities: int | None = None,
) -> dict[str, list[Crop]]:
    """A test set of people of train, so that choices are made without query and gallery.

    Of each person held out one image of every camera is a query (one of all where cameras are not
    known), and the others are the gallery. People without a match for each of their queries stay
    in train.

    Args:
      splits: train, from which all is taken.
      people: to hold out.
      seed: of the draws.
      images: to train on, about, of whole people; None for those of all the others.
      identities: to train on; None for all others.

    Raises:
      InputError: too few people have matches, or nobody is left to train on.
    """
    of_person: dict[int, list[Crop]] = {}
    for crop in splits["train"]:
        of_person.setdefault(crop.identity, []).append(crop)
    cut = {person: _asked(crops) for person, crops in of_person.items() if person > 0}
    able = [person for person in sorted(cut) if has_match(*cut[person]).all()]
    most = min(len(able), len(cut) - 1)
    if people > most:
        raise InputError(f"{people} people to hold out: train has {max(most, 0)} with matches")
    random = np.random.default_rng(seed)
    chosen = sorted(_draw(random, np.array(able), people).tolist())
    train = [crop for crop in splits["train"] if crop.identity not in {*chosen}]
    if images is not None:
        some = {*_people_of(train, images, random)}
        train = [crop for crop in train if crop.identity in some]
    if identities is not None:
        left = _counts(train)[0]
        if len(left) < identities:
            raise InputError(f"{identities} identities to train on: {len(left)} are left")
        some = {*_draw(random, left, identities).tolist()}
        train = [crop for crop in train if crop.identity in some]
    query, gallery = ([crop for p in chosen for crop in cut[p][part]] for part in (0, 1))
    return {"train": train, "query": query, "gallery": gallery}


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


def _asked(crops: Sequence[Crop]) -> tuple[list[Crop], list[Crop]]:
    """A person's first image of each camera, and the others."""
    first = {crop.camera: crop for crop in reversed(crops)}
    others = [crop for crop in crops if crop is not first[crop.camera]]
    return [first[camera] for camera in sorted(first)], others


def _people_of(crops: Sequence[Crop], images: int, random: np.random.Generator) -> np.ndarray:
    """People drawn until their images reach a number."""
    people, counts = _counts(crops)
    order = random.permutation(len(people))
    return people[order[: 1 + int(np.searchsorted(np.cumsum(counts[order]), images))]]


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
