"""Why two crops match or do not: in words, and as a picture with what each part branch sees."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fgsam_jax.data.images import read_image, resize
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.retrieval.comparison import Comparison, Part
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.visualization import draw
from fgsam_jax.visualization.layout import (
    INK,
    LINE_HEIGHT,
    MARGIN,
    PAPER,
    as_tile,
    colour_key,
    font,
    grid,
    stacked,
    text_size,
)
from fgsam_jax.visualization.results import part_responses

_BAR, _BAR_WIDTH = 120, 60  # pixels
_UNRELATED = 2.0  # the squared distance of vectors of length 1 that have nothing in common


def verdict(found: Comparison) -> str:
    """A comparison in one line."""
    if found.threshold is None or found.probability is None:
        return f"distance {found.distance:.3f}; no threshold is known to tell a match by"
    return (
        f"{'match' if found.same else 'no match'}: distance {found.distance:.3f}, "
        f"{'within' if found.same else 'above'} the threshold {found.threshold.distance:.3f}; "
        f"probability of one person {found.probability:.2f}, if half of all pairs show one"
    )


def report(found: Comparison) -> str:
    """A comparison in lines: the verdict, a table of the parts and one of the attributes."""
    lines = [verdict(found), "", "part        squared distance  share  visible in A    in B"]
    for name, part in found.parts.items():
        seen = "{:12.2f}{:8.2f}".format(*part.visibility) if part.visibility else ""
        lines.append(f"{plain(name):<12}{part.squared_distance:16.3f}{part.share:7.0%}{seen}")
    if found.attributes:
        lines += ["", "attribute      A               B               agree with probability"]
    for name, x in found.attributes.items():
        answers = [f"{c} {p:.2f}" for c, p in zip(x.classes, x.probabilities, strict=True)]
        mark = "" if x.agree else "  differ"
        lines.append(f"{plain(name):<15}{answers[0]:<16}{answers[1]:<16}{x.agreement:.2f}{mark}")
    return "\n".join(lines)


def picture(found: Comparison, files: Sequence[Path], embedder: Embedder) -> Image.Image:
    """Both crops with their part maps, the share of each part and the attributes.

    Args:
      found: of the two files.
      files: the two.
      embedder: that described them.

    Raises:
      InputError: a file cannot be read.
    """
    data = embedder.info.config.data
    images = [read_image(file)[1] for file in files]
    rows = [[as_tile(image)] for image in images]
    captions = [[letter] for letter in "AB"]
    header = ["crop"]
    if len(found.parts) > 1:
        crops = np.stack([resize(image, data.height, data.width) for image in images])
        maps = part_pictures(found, crops, embedder)
        for name, part in found.parts.items():
            header.append(plain(name))
            for n, row in enumerate(rows):
                row.append(maps[name][n])
                seen = part.visibility
                captions[n].append(f"visible {seen[n]:.2f}" if seen else "")
        limit = None if found.threshold is None else found.threshold.distance**2
        rows.append([_label(limit), *(_bar(part, limit) for part in found.parts.values())])
        captions.append(
            ["", *(f"{x.squared_distance:.2f}\n{x.share:.0%}" for x in found.parts.values())]
        )
    panels = [_lines([(verdict(found), INK)]), grid(rows, captions, header)]
    if len(found.parts) > 1:
        panels.append(draw.ramp_key())
    if found.attributes:
        panels.append(_attributes(found))
        panels.append(colour_key([(draw.RIGHT, "agree"), (draw.WRONG, "differ")]))
    return stacked(*panels)


def part_pictures(
    found: Comparison, crops: np.ndarray, embedder: Embedder
) -> dict[str, list[Image.Image]]:
    """Where each part branch looks in the crops; empty for a model without part branches.

    Args:
      found: of the crops.
      crops: uint8 RGB [2, height, width, 3], of the size trained on.
      embedder: that described them.
    """
    if len(found.parts) == 1:
        return {}
    maps = part_responses(embedder.info, embedder.variables(), crops)
    tiles = [as_tile(crop) for crop in crops]
    return {
        name: [draw.overlay(tile, heat) for tile, heat in zip(tiles, maps[..., n], strict=True)]
        for n, name in enumerate(PARTS)
    }


def _label(limit: float | None) -> Image.Image:
    """What the bars mean; see `_bar`."""
    text = ["squared distance", "of the part and", "its share of all;"]
    text += ["frame: unrelated"] if limit is None else ["line: threshold,", "squared"]
    return _lines([(line, INK) for line in text])


def _bar(part: Part, limit: float | None) -> Image.Image:
    """A part's squared distance.

    In half the frame's height there is a line at the squared threshold, below which the mean of the
    parts is for the same person; without a threshold the frame ends at unrelated parts.
    """
    image = Image.new("RGB", (_BAR_WIDTH, _BAR + 2), PAPER)
    pen = ImageDraw.Draw(image)
    full = min(part.squared_distance / (2 * limit if limit else _UNRELATED), 1) * _BAR
    pen.rectangle((0, _BAR + 1 - full, _BAR_WIDTH - 1, _BAR + 1), fill=(86, 130, 180))
    pen.rectangle((0, 0, _BAR_WIDTH - 1, _BAR + 1), outline=INK)
    if limit:
        pen.line((0, _BAR // 2 + 1, _BAR_WIDTH - 1, _BAR // 2 + 1), fill=INK)
    return image


def _attributes(found: Comparison) -> Image.Image:
    """The attributes in three columns, in the colour of agreeing or differing."""
    lines = []
    for name, x in found.attributes.items():
        (a, b), (p, q) = x.classes, x.probabilities
        text = f"{plain(name)}: A {a} {p:.2f}, B {b} {q:.2f}"
        lines.append((text, draw.RIGHT if x.agree else draw.WRONG))
    columns = [_lines(lines[start : start + -(-len(lines) // 3)]) for start in _starts(len(lines))]
    whole = Image.new("RGB", (sum(x.width for x in columns), columns[0].height), PAPER)
    left = 0
    for column in columns:
        whole.paste(column, (left, 0))
        left += column.width
    return whole


def _starts(count: int) -> range:
    return range(0, count, -(-count // 3))


def _lines(lines: Sequence[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    """Texts below one another, each in its colour."""
    width = max(text_size(text)[0] for text, _ in lines) + 2 * MARGIN
    image = Image.new("RGB", (width, LINE_HEIGHT * len(lines) + MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    for n, (text, colour) in enumerate(lines):
        pen.text((MARGIN, MARGIN // 2 + n * LINE_HEIGHT), text, fill=colour, font=font())
    return image


def plain(name: str) -> str:
    """The name of a part or an attribute as a person writes it."""
    return name.replace("_", " ").replace("plenary", "whole body")
