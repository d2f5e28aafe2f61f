"""The pixels of a segment in COCO's forms: polygons, and runs as numbers or as text."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from pycocotools import mask as coco_mask

FARTHEST = 1e6  # pixels; no image reaches that far
# The library walks an outline in fifths of a pixel and holds every step: an outline may be as long
# as fifty of the image.
_OUTLINES = 50


def region(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The pixels of a segment, bool [height, width].

    Args:
      segmentation: polygons [[x, y, x, y, ...], ...], or {"size": [height, width], "counts"}, the
        lengths of the runs outside and inside in turn, down the columns.
      height, width: of the image.

    Raises:
      ValueError: it is neither, or of an image of another size.
    """
    if isinstance(segmentation, dict):
        return _runs(segmentation, height, width)
    if not isinstance(segmentation, list) or not all(map(are_numbers, segmentation)):
        raise ValueError("its segmentation is neither lists of numbers nor runs")
    # A polygon needs three corners; published files hold some with fewer.
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return np.zeros((height, width), bool)
    if any(len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon of its segmentation has an x without a y")
    length = sum(map(_length, polygons))
    if length > 2 * (height + width) * _OUTLINES:
        raise ValueError(f"the outline of its segmentation is {length:,.0f} pixels long")
    code = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return coco_mask.decode(code).astype(bool)


def are_numbers(values: object) -> TypeGuard[list[float]]:
    """Whether a value of a JSON is a list of finite numbers that can be places in an image."""
    return (
        isinstance(values, list)
        and set(map(type, values)) <= {int, float}
        and all(-FARTHEST <= value <= FARTHEST for value in values)
    )


def _length(polygon: Sequence[float]) -> float:
    corners = np.array(polygon, np.float64).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, 0)).max(1).sum())


def _runs(code: dict[str, Any], height: int, width: int) -> np.ndarray:
    if code.get("size") != [height, width]:
        raise ValueError(f"its runs are of the size {code.get('size')}, needed {[height, width]}")
    counts = code.get("counts")
    if isinstance(counts, (str, bytes)):
        counts = _counts(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise ValueError("its runs have no whole numbers as counts")
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        # The library would leave the pixels after them as the memory happens to be.
        raise ValueError(f"its runs do not add up to the {height * width:,} pixels of the image")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(width, height).T


def _counts(text: bytes) -> list[int]:
    """The runs of COCO's text: five bits a letter from 48 on, lowest first.

    Bit 32 says that a number goes on, bit 16 of its last letter that it is negative. From the
    fourth on, a number is what to add to the run before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its runs are no text that COCO knows")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its runs end inside a number")
    return counts
