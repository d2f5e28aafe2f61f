"""What a gallery's search found, as a table, as plain values and as a picture."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from fgsam_jax.data.images import read_image
from fgsam_jax.errors import printable
from fgsam_jax.retrieval.crop_lists import kept_file
from fgsam_jax.retrieval.rows import Row
from fgsam_jax.visualization import draw

_SHOWN = 10  # crops of a row of a picture


def table(found: Sequence[Row], attributes: Sequence[str] = ()) -> str:
    """A line for each crop, with the columns that some crop fills.

    Args:
      found: best first.
      attributes: whose most likely class and its probability are shown.
    """
    columns: dict[str, list[str]] = {
        "rank": [str(n) for n in range(1, len(found) + 1)],
        "distance": [_number(x.distance) for x in found],
        "probability": [_number(x.probability) for x in found],
        "camera": [printable(x.camera or "", 20) for x in found],
        "person": [person(x) for x in found],
        "time": [moment(x.time) for x in found],
        "words": [printable(" ".join(x.words), 40) for x in found],
    }
    for name in attributes:
        best = [max(x.attributes[name].items(), key=lambda item: item[1]) for x in found]
        columns[name] = [f"{answer} {p:.2f}" for answer, p in best]
    columns["name"] = [printable(x.name, 120) for x in found]
    used = {title: cells for title, cells in columns.items() if any(cells)}
    widths = [max(map(len, (title, *cells))) for title, cells in used.items()]
    lines = [list(used), *zip(*used.values(), strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def plain(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Values for JSON, without the descriptors and what is not known."""
    return [
        {key: x for key, x in dataclasses.asdict(row).items() if x is not None}
        for row in (dataclasses.replace(row, descriptor=None) for row in found)
    ]


def ranked_lists(
    queries: Sequence[Path],
    lists: Sequence[Sequence[Row]],
    root: Path,
    captions: Sequence[str] | None = None,
) -> Image.Image:
    """The queries and the first crops found for each.

    Args:
      queries: files.
      lists: found for each query, best first.
      root: the folder that names in the gallery are relative to; no other is read.
      captions: a line below each query.

    Raises:
      InputError: an image is not there or cannot be read, or a name leads out of the root.
    """
    shown = [found[:_SHOWN] for found in lists]
    return draw.ranked_lists(
        [read_image(path)[1] for path in queries],
        [[read_image(kept_file(x.name, root))[1] for x in found] for found in shown],
        None,
        query_captions=captions,
        gallery_captions=[[_caption(x) for x in found] for found in shown],
    )


def answers(found: Sequence[Row], root: Path) -> Image.Image:
    """A sheet of the crops that `Gallery.who` found; arguments as for `ranked_lists`."""
    images = [read_image(kept_file(x.name, root))[1] for x in found]
    return draw.contact_sheet(images, captions=[_caption(x) for x in found])


def _caption(row: Row) -> str:
    number = _number(row.distance) or _number(row.probability)
    return "\n".join(filter(None, [number, row.camera and printable(f"camera {row.camera}", 20)]))


def person(row: Row) -> str:
    """Whom a crop shows, where it is known: a name, "junk" or "distractor"."""
    known = {None: "", "-1": "junk", "0": "distractor"}
    return known.get(row.identity) or printable(row.identity or "", 20)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def moment(value: float | None) -> str:
    """Seconds since 1970 as a date and a time, UTC.

    Example:
      >>> moment(86400.0)
      '1970-01-02 00:00:00'
    """
    if value is None:
        return ""
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # the year 10000
        return f"{value:g}"
