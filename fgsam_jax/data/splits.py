"""Splits for re-identification of a set that was published without."""

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.protocol import DISTRACTOR, is_person

# The one split of a set published without; TFDS keeps the name "all" for itself.
WHOLE = "whole"
SPLITS = ("train", "query", "gallery")


def draw_splits(identities: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rows of train, query and gallery: half of the people train, the others test.

    Only people with two images or more take part. One image of each test person, drawn at random,
    is a query; the rest of them are the gallery, with all distractors (identity 0). This protocol
    is ours, since that of the paper's PETA figures was not published; no camera is looked at.

    Args:
      identities: [n] int; those below 0 take no part.
      seed: of the draw.

    Returns:
      {split: rows [k], sorted}.

    Raises:
      InputError: fewer than two people have two images.
    """
    people, counts = np.unique(identities[is_person(identities)], return_counts=True)
    people = people[counts > 1]
    if len(people) < 2:
        raise InputError(
            f"splits cannot be drawn: {len(people)} people have two images or more, two are "
            f"needed; add images, or give the splits"
        )
    random = np.random.default_rng(seed)
    training = random.permutation(people)[: len(people) // 2]
    train = np.flatnonzero(np.isin(identities, training))
    test = np.setdiff1d(people, training)
    query = np.array([random.choice(np.flatnonzero(identities == person)) for person in test])
    rest = np.flatnonzero(np.isin(identities, test) | (identities == DISTRACTOR))
    return {"train": train, "query": np.sort(query), "gallery": np.setdiff1d(rest, query)}
