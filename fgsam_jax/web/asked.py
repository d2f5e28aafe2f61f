"""What the address of a search asks for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams

from fgsam_jax.errors import InputError, printable
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.retrieval.answers import said

MOST = 100  # crops
SEARCH = ("query", "k", "re_rank", "camera", "since", "until", "words")
COMPARE = ("match", *SEARCH)  # a match's address holds the search too
_SHOWN = 24


class Asked(NamedTuple):
    """A search without its query.

    Attributes:
      k: how many crops.
      re_rank: by k-reciprocal neighbours.
      where: what `Gallery.search` filters by.
      unknown: words that say nothing to the model.
    """

    k: int
    re_rank: bool
    where: dict[str, Any]
    unknown: list[str]


def check_names(given: QueryParams, known: Sequence[str]) -> None:
    """Refuse what would be passed over: a search without its filter looks like one with it.

    Raises:
      InputError: a name is not among the known.

    Example:
      >>> check_names(QueryParams("from=2026"), ("k", "since"))
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: 'from' is unknown; known are k, since
    """
    for name in given:
        if name not in known:
            raise InputError(f"{printable(name, 40)!r} is unknown; known are {', '.join(known)}")


def asked_for(given: QueryParams, attributes: Sequence[Attribute]) -> Asked:
    """Read an address such as /api/search?camera=2&camera=3&since=2026-11-28&words=red+top.

    Args:
      given: k, re_rank=1, camera, since, until and words; what is empty is not asked for.
      attributes: of the gallery.

    Raises:
      InputError: k or re_rank is no number or not within bounds, or no word is known.

    Example:
      >>> asked_for(QueryParams("k=5&camera=2&since="), ())
      Asked(k=5, re_rank=False, where={'camera': ['2']}, unknown=[])
    """
    k = given.get("k") or str(_SHOWN)
    if not k.isascii() or not k.isdigit() or not 1 <= int(k[:9]) <= MOST:
        raise InputError(f"k is how many crops are shown, 1 to {MOST}, got {k!r}")
    if given.get("re_rank", "") not in ("", "0", "1"):
        raise InputError(f"re_rank is 1 or 0, got {printable(given['re_rank'], 40)!r}")
    where: dict[str, Any] = {key: given[key] for key in ("since", "until") if given.get(key)}
    cameras = [name for name in given.getlist("camera") if name]
    if cameras:
        where["camera"] = cameras
    text = given.get("words", "").strip()
    unknown: list[str] = []
    if text:
        where["attributes"], unknown = said(text, attributes)
    return Asked(int(k), given.get("re_rank") == "1", where, unknown)
