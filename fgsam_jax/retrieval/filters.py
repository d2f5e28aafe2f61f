"""What a search may ask of the crops of a gallery."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.inputs import whole
from fgsam_jax.retrieval.rows import answer, seconds, text
from fgsam_jax.retrieval.stores import Condition

EARLIEST = -1e15  # seconds; what has a time is later
_MOST = 1_000_000  # rows of a query


def conditions(
    about: Mapping[str, Any],
    *,
    camera: str | int | Sequence[str | int] | None = None,
    since: float | str | datetime | None = None,
    until: float | str | datetime | None = None,
    words: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
) -> list[Condition]:
    """What a store filters by.

    Args:
      about: of the gallery.
      camera: one or several.
      since: the earliest time, as `seconds` takes it; crops without a time do not count.
      until: the latest.
      words: all of which a crop has.
      attributes: by name, the class that the model holds most likely.

    Raises:
      InputError: a time, or a class that is not the model's.

    Example:
      >>> conditions({"attributes": {}}, camera=(1, "gate"))
      [Condition(key='camera', among=['1', 'gate'], least=None, most=None)]
    """
    found = []
    if camera is not None:
        several = [camera] if isinstance(camera, str | int) else camera
        found.append(Condition("camera", [text("camera", x) for x in several]))
    if since is not None or until is not None:
        ends = (None if x is None else seconds(x) for x in (since, until))
        found.append(Condition("time", None, *ends))
    found += [Condition("words", [text("word", word)]) for word in words]
    for name, wanted in (attributes or {}).items():
        if wanted not in about["attributes"].get(name, ()):
            raise InputError(f"{name} {wanted} is not of these attributes: {told(about)}")
        found.append(Condition("answers", [answer(name, wanted)]))
    return found


def checked_k(k: int) -> int:
    """How many rows are asked for, if that many can be. Raises InputError.

    Example:
      >>> checked_k(0)
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: k is 0: expected a whole number from 1 on.
    """
    k = whole("k", k, 1)
    if k > _MOST:
        raise InputError(f"k is {k}: expected at most {_MOST:,}.")
    return k


def told(about: Mapping[str, Any]) -> str:
    """The attributes of a gallery's model, for a person.

    Example:
      >>> told({"attributes": {"hat": ["no", "yes"]}})
      'hat no, yes'
    """
    known = [f"{name} {', '.join(classes)}" for name, classes in about["attributes"].items()]
    return "; ".join(known) or "none"
