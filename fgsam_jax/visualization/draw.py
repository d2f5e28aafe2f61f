"""Pictures for people: ranked lists, heat maps of the parts, poses and contact sheets.

Every function returns a `PIL.Image.Image`; `.save("name.png")` writes it. Crops are shown at one
height, so that 128x64 crops are enlarged and can be judged by eye.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from fgsam_jax.errors import InputError

TILE_HEIGHT = 256
_MARGIN = 10
_FRAME = 6
_FONT_SIZE = 13
_LINE_HEIGHT = 17

_PAPER = (255, 255, 255)
_INK = (40, 40, 40)
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

Crop = Image.Image | NDArray[Any]


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
    return stacked(_grid(rows, captions, first_column_gap=2 * _MARGIN), colour_key(legend))


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
        rows.append([tile, *(_overlay(tile, parts[..., part]) for part in range(heat.shape[3]))])
    header = ["image", *(name.replace("_", " ") for name in part_names)]
    return stacked(_grid(rows, header=header), _ramp_key())


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
    return _grid(
        [shown[start : start + columns] for start in starts],
        [list(captions[start : start + columns]) for start in starts],
    )


def _same_length(name: str, one: Any, other_name: str, other: Any) -> None:
    if len(one) != len(other):
        raise InputError(f"{len(one)} {name} came with {len(other)} {other_name}.")


def as_picture(image: Crop) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"A picture must be uint8 RGB of the shape [height, width, 3], "
            f"but came as {array.dtype} with the shape {array.shape}."
        )
    return Image.fromarray(array)


def as_tile(image: Crop) -> Image.Image:
    """The picture at the height of a tile, its shape kept."""
    picture = as_picture(image)
    width = max(1, round(picture.width * TILE_HEIGHT / picture.height))
    return picture.resize((width, TILE_HEIGHT), Image.Resampling.BICUBIC)


def _framed(tile: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    framed = Image.new("RGB", (tile.width + 2 * _FRAME, tile.height + 2 * _FRAME), colour)
    framed.paste(tile, (_FRAME, _FRAME))
    return framed


def _ramp(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours [..., 3] of values between 0 and 1."""
    stops = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(values, stops, _RAMP[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def _overlay(tile: Image.Image, heat: NDArray[np.float64]) -> Image.Image:
    low, high = heat.min(), heat.max()
    level = (heat - low) / (high - low) if high > low else np.zeros_like(heat)
    smooth = Image.fromarray(level.astype(np.float32)).resize(tile.size, Image.Resampling.BICUBIC)
    level = np.clip(np.asarray(smooth, np.float64), 0, 1)
    grey = np.asarray(tile.convert("L"), np.float64)[..., None]
    # Grey under the colours: the crop's own colours would be read as heat.
    weight = 0.25 + 0.5 * level[..., None]
    blended = weight * _ramp(level) + (1 - weight) * grey
    return Image.fromarray(np.round(blended).astype(np.uint8))


def _font() -> Any:
    return ImageFont.load_default(size=_FONT_SIZE)


def _text_size(text: str) -> tuple[int, int]:
    """Width and height of a caption of one or several lines."""
    lines = text.splitlines()
    width = max((_font().getlength(line) for line in lines), default=0)
    return int(np.ceil(width)), _LINE_HEIGHT * len(lines)


def _write(draw: ImageDraw.ImageDraw, x: float, y: float, text: str) -> None:
    """Writes lines centred on x, from y downwards."""
    for number, line in enumerate(text.splitlines()):
        draw.text((x, y + number * _LINE_HEIGHT), line, fill=_INK, font=_font(), anchor="ma")


def _grid(
    rows: list[list[Image.Image]],
    captions: list[list[str]] | None = None,
    header: list[str] | None = None,
    first_column_gap: int = 0,
) -> Image.Image:
    """Tiles in rows and columns with captions below them and a header above the columns."""
    if not any(rows):
        raise InputError("There is no picture to show: pass at least one.")
    captions = captions or [[""] * len(row) for row in rows]
    columns = max(len(row) for row in rows)
    widths = [0] * columns
    for row, texts in zip(rows, captions, strict=True):
        for column, (tile, text) in enumerate(zip(row, texts, strict=True)):
            widths[column] = max(widths[column], tile.width, _text_size(text)[0])
    for column, text in enumerate(header or []):
        widths[column] = max(widths[column], _text_size(text)[0])
    lefts = [_MARGIN]
    for column, width in enumerate(widths):
        lefts.append(lefts[-1] + width + _MARGIN + (first_column_gap if column == 0 else 0))
    heights = [
        max(tile.height for tile in row) + max(_text_size(text)[1] for text in texts) + 4
        for row, texts in zip(rows, captions, strict=True)
    ]
    top = _MARGIN + (_LINE_HEIGHT + 2 if header else 0)

    sheet = Image.new("RGB", (lefts[-1], top + sum(heights) + _MARGIN * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(header or []):
        _write(draw, lefts[column] + widths[column] / 2, _MARGIN, text)
    for row, texts, height in zip(rows, captions, heights, strict=True):
        for column, (tile, text) in enumerate(zip(row, texts, strict=True)):
            middle = lefts[column] + widths[column] / 2
            sheet.paste(tile, (int(middle - tile.width / 2), top))
            _write(draw, middle, top + tile.height + 3, text)
        top += height + _MARGIN
    return sheet


def colour_key(entries: list[tuple[tuple[int, int, int], str]]) -> Image.Image:
    width = sum(_text_size(text)[0] + 40 for _, text in entries)
    key = Image.new("RGB", (width + _MARGIN, _LINE_HEIGHT + _MARGIN), _PAPER)
    draw, x = ImageDraw.Draw(key), _MARGIN
    for colour, text in entries:
        draw.rectangle((x, 1, x + 13, 14), outline=colour, width=4)
        draw.text((x + 20, 0), text, fill=_INK, font=_font())
        x += _text_size(text)[0] + 40
    return key


def _ramp_key() -> Image.Image:
    bar = Image.fromarray(np.tile(_ramp(np.linspace(0, 1, 160)), (12, 1, 1)))
    low, high = "least in its map", "most"
    left = _MARGIN + _text_size(low)[0] + 8
    width = left + bar.width + 8 + _text_size(high)[0] + _MARGIN
    key = Image.new("RGB", (width, _LINE_HEIGHT + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(key)
    draw.text((_MARGIN, 0), low, fill=_INK, font=_font())
    key.paste(bar, (left, 2))
    draw.text((left + bar.width + 8, 0), high, fill=_INK, font=_font())
    return key


def stacked(*pictures: Image.Image) -> Image.Image:
    """Pictures below one another, a sheet and its key for example."""
    size = max(picture.width for picture in pictures), sum(picture.height for picture in pictures)
    whole, top = Image.new("RGB", size, _PAPER), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole
