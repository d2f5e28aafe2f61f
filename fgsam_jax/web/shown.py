"""What the page is told of crops and of matches, as plain values for JSON."""

from base64 import b64encode
from typing import Any

from PIL import Image

from fgsam_jax.data.images import encode
from fgsam_jax.retrieval.comparison import Comparison
from fgsam_jax.retrieval.rows import Row
from fgsam_jax.visualization.found import moment, person
from fgsam_jax.visualization.match import plain, verdict

_LONGEST = 512  # pixels of a side


def small_jpeg(image: Image.Image) -> bytes:
    """A picture for the page: a file of at most 512 x 512 pixels."""
    image.thumbnail((_LONGEST, _LONGEST))
    return encode(image, "JPEG", quality=88)


def inside(jpeg: bytes) -> str:
    """The address of a picture that stands in the answer itself.

    Example:
      >>> inside(b"abc")
      'data:image/jpeg;base64,YWJj'
    """
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"


def crop(row: Row, limit: float | None) -> dict[str, Any]:
    """A crop of the gallery.

    Args:
      row: of it.
      limit: the gallery's threshold, if it has one.
    """
    known = None if row.distance is None or limit is None else row.distance <= limit
    return {
        "id": row.id,
        "name": row.name,
        "camera": row.camera,
        "person": person(row),
        "time": moment(row.time),
        "words": list(row.words),
        "distance": row.distance,
        "same": known,
    }


def match(found: Comparison, maps: dict[str, list[Image.Image]]) -> dict[str, Any]:
    """Two crops, the query first; maps as of `visualization.match.part_pictures`."""
    values = found.to_dict()
    parts = [
        {"name": plain(name), **part, "maps": [inside(small_jpeg(x)) for x in maps.get(name, ())]}
        for name, part in values["parts"].items()
    ]
    attributes = [{"name": plain(name), **x} for name, x in values["attributes"].items()]
    return {**values, "verdict": verdict(found), "parts": parts, "attributes": attributes}
