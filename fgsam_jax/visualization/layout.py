"""Pictures side by side: tiles of one height in rows and columns, captions, keys of colours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fgsam_jax.errors import InputError

Crop = Image.Image | NDArray[Any]

TILE_HEIGHT = 256
MARGIN = 10
_FONT_SIZE = 13
LINE_HEIGHT = 17

PAPER = (255, 255, 255)
INK = (40, 40, 40)


def as_picture(image: Crop) -> Image.Image:
    """A picture, or uint8 RGB [height, width, 3], as an RGB picture; else an InputError."""
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


def font() -> Any:
    """That of all captions; Pillow brings it."""
    return ImageFont.load_default(size=_FONT_SIZE)


def text_size(text: str) -> tuple[int, int]:
    """Width and height of a caption of one or several lines."""
    lines = text.splitlines()
    width = max((font().getlength(line) for line in lines), default=0)
    return int(np.ceil(width)), LINE_HEIGHT * len(lines)


def _write(draw: ImageDraw.ImageDraw, x: float, y: float, text: str) -> None:
    """Writes lines centred on x, from y downwards."""
    for number, line in enumerate(text.splitlines()):
        draw.text((x, y + number * LINE_HEIGHT), line, fill=INK, font=font(), anchor="ma")


def grid(
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
            widths[column] = max(widths[column], tile.width, text_size(text)[0])
    for column, text in enumerate(header or []):
        widths[column] = max(widths[column], text_size(text)[0])
    lefts = [MARGIN]
    for column, width in enumerate(widths):
        lefts.append(lefts[-1] + width + MARGIN + (first_column_gap if column == 0 else 0))
    heights = [
        max(tile.height for tile in row) + max(text_size(text)[1] for text in texts) + 4
        for row, texts in zip(rows, captions, strict=True)
    ]
    top = MARGIN + (LINE_HEIGHT + 2 if header else 0)

    sheet = Image.new("RGB", (lefts[-1], top + sum(heights) + MARGIN * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(header or []):
        _write(draw, lefts[column] + widths[column] / 2, MARGIN, text)
    for row, texts, height in zip(rows, captions, heights, strict=True):
        for column, (tile, text) in enumerate(zip(row, texts, strict=True)):
            middle = lefts[column] + widths[column] / 2
            sheet.paste(tile, (int(middle - tile.width / 2), top))
            _write(draw, middle, top + tile.height + 3, text)
        top += height + MARGIN
    return sheet


def colour_key(entries: list[tuple[tuple[int, int, int], str]]) -> Image.Image:
    """What colours mean: (colour, text) in one line."""
    width = sum(text_size(text)[0] + 40 for _, text in entries)
    key = Image.new("RGB", (width + MARGIN, LINE_HEIGHT + MARGIN), PAPER)
    draw, x = ImageDraw.Draw(key), MARGIN
    for colour, text in entries:
        draw.rectangle((x, 1, x + 13, 14), outline=colour, width=4)
        draw.text((x + 20, 0), text, fill=INK, font=font())
        x += text_size(text)[0] + 40
    return key


def stacked(*pictures: Image.Image) -> Image.Image:
    """Pictures below one another, a sheet and its key for example."""
    size = max(picture.width for picture in pictures), sum(picture.height for picture in pictures)
    whole, top = Image.new("RGB", size, PAPER), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole
