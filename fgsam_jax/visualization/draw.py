"""Pictures for people: ranked lists, heat maps of the parts, poses and contact sheets.

Every function returns a `PIL.Image.Image`; `.save("name.png")` writes it. Crops are shown at one
height, so that 128x64 crops are enlarged and can be judged by eye.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from fgsam_jax.errors import InputError
from fgsam_jax.visualization.layout import (
    INK,
    LINE_HEIGHT,
    MARGIN,
    PAPER,
    Crop,
    as_tile,
    colour_key,
    font,
    grid,
    stacked,
    text_size,
)

_FRAME = 6
_QUERY = (90, 90, 90)
# Green and vermilion of Okabe and Ito's palette, which differ for the colour-blind too.
_RIGHT = (0, 158, 115)
_WRONG = (213, 94, 0)

# From dark blue over purple and orange to pale yellow, its lightness rising evenly, so that
# brighter always reads as more.
_RAMP = np.array(
    [(8, 8, 60), (75, 16, 128), (158, 42, 128), (226, 82, 88), (250, 152, 54), (250, 240, 150)],
    np.float64,
)


def ranked_lists(
    query_images: Sequence[Crop] | NDArray[Any],
    gallery_images: Sequence[Sequence[Crop]] | NDArray[Any],
    correct: ArrayLike | Sequence[Sequence[bool]],
    *,
    query_captions: Sequence[str] | None = None,
    gallery_captions: Sequence[Sequence[str]] | None = None,
) -> Image.Image:
    """One row per query: its crop, then its best gallery crops framed green or red.

    Args:
      query_images: one uint8 RGB crop [height, width, 3] per query.
      gallery_images: for every query the crops found, best first; the rows may differ in length.
      correct: for every query and crop found, whether it shows the query's person.
      query_captions: a line or several for every query, such as "id 12, camera 3".
      gallery_captions: the same for every crop found; the rank stands before it.

    Raises:
      InputError: numbers of queries, crops, flags or captions that differ.
    """
    flags = [list(row) for row in np.asarray(correct, object)]
    _same_length("query images", query_images, "ranked lists", gallery_images)
    _same_length("query images", query_images, "rows of `correct`", flags)
    if query_captions is None:
        query_captions = [""] * len(query_images)
    if gallery_captions is None:
        gallery_captions = [[""] * len(row) for row in gallery_images]
    _same_length("query images", query_images, "query captions", query_captions)
    _same_length("query images", query_images, "rows of gallery captions", gallery_captions)

    rows, captions = [], []
    for query, found, right, query_caption, found_captions in zip(
        query_images, gallery_images, flags, query_captions, gallery_captions, strict=True
    ):
        _same_length("crops of a query", found, "flags", right)
        _same_length("crops of a query", found, "captions", found_captions)
        rows.append(
            [_framed(as_tile(query), _QUERY)]
            + [
                _framed(as_tile(crop), _RIGHT if hit else _WRONG)
                for crop, hit in zip(found, right, strict=True)
            ]
        )
        captions.append(
            [f"query\n{query_caption}".strip()]
            + [f"rank {n}\n{text}".strip() for n, text in enumerate(found_captions, 1)]
        )
    legend = [(_QUERY, "query"), (_RIGHT, "same person"), (_WRONG, "another person")]
    return stacked(grid(rows, captions, first_column_gap=2 * MARGIN), colour_key(legend))


def part_maps(images: NDArray[Any], maps: ArrayLike, part_names: Sequence[str]) -> Image.Image:
    """One row per image: the crop, then one overlay per part of where the part is seen.

    Every map is stretched from its own lowest to its own highest value, so brightness compares
    places within a map and not maps with each other.

    Args:
      images: [n, height, width, 3] uint8 RGB.
      maps: [n, rows, columns, parts] of any grid that covers the image.
      part_names: one name per part.

    Raises:
      InputError: shapes that do not fit.
    """
    heat = np.asarray(maps, np.float64)
    if heat.ndim != 4 or heat.shape[3] != len(part_names):
        raise InputError(
            f"Part maps must have the shape [images, rows, columns, {len(part_names)}] "
            f"for {len(part_names)} part names, but came with {heat.shape}."
        )
    _same_length("images", images, "sets of part maps", heat)
    rows = []
    for image, parts in zip(images, heat, strict=True):
        tile = as_tile(image)
        rows.append(
            [tile, *(part_overlay(image, parts[..., part]) for part in range(heat.shape[3]))]
        )
    header = ["image", *(name.replace("_", " ") for name in part_names)]
    return stacked(grid(rows, header=header), _ramp_key())


def part_overlay(image: Crop, heat: NDArray[Any]) -> Image.Image:
    """A crop in grey under the colours of one map, see `part_maps`.

    Args:
      image: [height, width, 3] uint8 RGB.
      heat: [rows, columns] of any grid that covers the image.
    """
    tile, heat = as_tile(image), np.asarray(heat, np.float64)
    low, high = heat.min(), heat.max()
    level = (heat - low) / (high - low) if high > low else np.zeros_like(heat)
    smooth = Image.fromarray(level.astype(np.float32)).resize(tile.size, Image.Resampling.BICUBIC)
    level = np.clip(np.asarray(smooth, np.float64), 0, 1)
    grey = np.asarray(tile.convert("L"), np.float64)[..., None]
    # Grey under the colours: the crop's own colours would be read as heat.
    weight = 0.25 + 0.5 * level[..., None]
    blended = weight * _ramp(level) + (1 - weight) * grey
    return Image.fromarray(np.round(blended).astype(np.uint8))


def contact_sheet(
    tiles: Sequence[Crop] | NDArray[Any],
    columns: int = 8,
    captions: Sequence[str] | None = None,
) -> Image.Image:
    """Pictures in rows of `columns`, each with its caption below.

    Args:
      tiles: uint8 RGB crops [height, width, 3] or pictures, of any sizes.
      columns: pictures in a row.
      captions: a line or several for every picture.

    Raises:
      InputError: no picture, fewer than one column or captions that do not fit.
    """
    if columns < 1:
        raise InputError(f"A contact sheet was asked for in {columns} columns: pass at least 1.")
    captions = [""] * len(tiles) if captions is None else captions
    _same_length("pictures", tiles, "captions", captions)
    shown = [as_tile(tile) for tile in tiles]
    starts = range(0, len(shown), columns)
    return grid(
        [shown[start : start + columns] for start in starts],
        [list(captions[start : start + columns]) for start in starts],
    )


def _same_length(name: str, one: Any, other_name: str, other: Any) -> None:
    if len(one) != len(other):
        raise InputError(f"{len(one)} {name} came with {len(other)} {other_name}.")


def _framed(tile: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    framed = Image.new("RGB", (tile.width + 2 * _FRAME, tile.height + 2 * _FRAME), colour)
    framed.paste(tile, (_FRAME, _FRAME))
    return framed


def _ramp(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours [..., 3] of values between 0 and 1."""
    stops = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(values, stops, _RAMP[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def _ramp_key() -> Image.Image:
    bar = Image.fromarray(np.tile(_ramp(np.linspace(0, 1, 160)), (12, 1, 1)))
    low, high = "least in its map", "most"
    left = MARGIN + text_size(low)[0] + 8
    width = left + bar.width + 8 + text_size(high)[0] + MARGIN
    key = Image.new("RGB", (width, LINE_HEIGHT + MARGIN), PAPER)
    draw = ImageDraw.Draw(key)
    draw.text((MARGIN, 0), low, fill=INK, font=font())
    key.paste(bar, (left, 2))
    draw.text((left + bar.width + 8, 0), high, fill=INK, font=font())
    return key
