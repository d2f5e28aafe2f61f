"""What a search answers beside distances: re-ranked lists, and what is missing."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fgsam_jax.errors import InputError, printable
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.labels.words import Understood, understand
from fgsam_jax.retrieval.filters import EARLIEST, checked_k
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.rerank import rerank
from fgsam_jax.retrieval.rows import Row

_CANDIDATES = 1000  # of each query
_NAMED = 20  # cameras, at most


def search_reranked(gallery: Gallery, rows: np.ndarray, k: int, **where: Any) -> list[list[Row]]:
    """The k best crops of each query by `rerank`, among the 1000 nearest of every query.

    A gallery of up to 1000 crops is re-ranked as a whole. `Row.distance` stays the Euclidean one.

    Args:
      gallery: to search.
      rows: [queries, dim] descriptors; re-ranking lets queries help each other.
      k: how many, at most.
      where: as for `Gallery.search`.

    Raises:
      InputError: as `Gallery.search` does.

    Example:
      >>> found = search_reranked(gallery, embedder.embed("a.jpg"), 20)[0]  # doctest: +SKIP
    """
    checked_k(k)
    candidates: dict[str, Row] = {}
    for row in rows:  # one by one, as descriptors of many crops come with each
        (found,) = gallery.search(row[None], _CANDIDATES, descriptors=True, **where)
        candidates.update((x.name, x) for x in found)
    if not candidates:
        return [[] for _ in rows]
    crops = list(candidates.values())
    descriptors = np.stack([x.descriptor for x in crops if x.descriptor is not None])
    lists = []
    for row, distances in zip(rows, rerank(rows, descriptors), strict=True):
        plain = np.linalg.norm(descriptors - row, axis=1)
        order = np.argsort(distances, kind="stable")[:k]
        lists.append(
            [
                dataclasses.replace(crops[i], distance=float(plain[i]), descriptor=None)
                for i in order
            ]
        )
    return lists


def nobody(gallery: Gallery, found: Sequence[Row]) -> bool | None:
    """Whether no crop is near enough to show the query's person.

    `found` is of `Gallery.search`: a re-ranked list may begin with others than the nearest.
    None where the gallery has no calibrated threshold, which is `about["threshold"]["distance"]`,
    and where no crop was compared, see `nothing`.

    Example:
      >>> nobody(gallery, gallery.search(rows)[0])  # doctest: +SKIP
      False
    """
    threshold = gallery.about.get("threshold")
    if threshold is None or not found:
        return None
    return not any(x.distance is not None and x.distance <= threshold["distance"] for x in found)


def said(text: str, attributes: Sequence[Attribute]) -> Understood:
    """The attributes in words to narrow a search by, see `labels.words.understand`.

    Raises:
      InputError: no word is known.

    Example:
      >>> said("red top, umbrella", [Attribute("upper_colour", "", ("red", "blue"))])
      Understood(wanted={'upper_colour': 'red'}, unknown=['umbrella'])
    """
    found = understand(text, attributes)
    if not found.wanted:
        raise InputError(f"no word of {text!r} is known here: see the attributes of the model")
    return found


def nothing(gallery: Gallery, found: Sequence[Row], **where: Any) -> str | None:
    """Why nothing was found, in a sentence; None where something was.

    Args:
      gallery: that was searched.
      found: by the search.
      where: its filters, as for `Gallery.search`.

    Example:
      >>> nothing(gallery, [], camera="11")  # doctest: +SKIP
      'no crop passes the filters; cameras: 9, 10, gate'
    """
    if found:
        return None
    ends = (where.get(name) for name in ("since", "until"))
    if any(x is not None for x in ends) and not gallery.count(since=EARLIEST):
        return "no crop of this gallery has a time"
    for word in where.get("words", ()):
        if not gallery.count(words=[word]):
            return f"no crop of this gallery has the word {printable(word, 40)!r}"
    if where.get("camera") is None:
        return "no crop passes the filters"
    names = sorted(gallery.cameras(), key=lambda x: x.zfill(9) if x.isdigit() else x)
    listed = ", ".join(printable(x, 20) for x in names[:_NAMED]) or "none is known"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"no crop passes the filters; cameras: {listed}{more}"
