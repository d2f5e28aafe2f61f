"""What a camera sees behind drawn pedestrians: walls, floors and what stands there."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fgsam_jax.data.synthetic.pedestrian import tone_of
from fgsam_jax.data.synthetic.person import Colour

STYLES = ("shop", "lawn", "plaza", "bricks", "road", "trees")
_WALLS: tuple[Colour, ...] = (
    (136, 130, 122), (116, 124, 104), (134, 132, 128), (140, 112, 100), (120, 124, 132),
    (112, 120, 106),
)  # fmt: skip
_FLOORS: tuple[Colour, ...] = (
    (130, 126, 120), (114, 130, 100), (136, 132, 124), (130, 124, 120), (120, 120, 124),
    (130, 122, 110),
)  # fmt: skip


def paint_scene(rng: np.random.Generator, style: int, horizon: float) -> Image.Image:
    """A wall and a floor with the clutter of one style, 480 x 256 pixels."""
    width, height = 480, 256
    line = round(horizon * height)
    wall, floor = tint(rng, _WALLS[style]), tint(rng, _FLOORS[style])
    image = Image.new("RGB", (width, height), floor)
    paint = ImageDraw.Draw(image)
    paint.rectangle([0, 0, width, line], fill=wall)
    name = STYLES[style]
    if name in ("plaza", "shop"):
        _tiles(paint, floor, line, width, height)
    if name == "bricks":
        for y in range(0, line, 9):
            paint.line([0, y, width, y], fill=tone_of(wall, 0.82))
            for x in range((y // 9 % 2) * 10, width, 20):
                paint.line([x, y, x, y + 9], fill=tone_of(wall, 0.85))
    if name == "road":
        for x in range(0, width, 70):
            paint.polygon(
                [(x, line + 50), (x + 34, line + 50), (x + 38, line + 56), (x, line + 56)],
                fill=(206, 204, 190),
            )
        paint.rectangle([0, line, width, line + 9], fill=tone_of(floor, 1.35))
    for _ in range(14 if name in ("shop", "plaza") else 6):
        _panel(paint, rng, wall, line, width)
    for _ in range(26 if name in ("trees", "lawn") else 6):
        _bush(paint, rng, line, width)
    for _ in range(8):
        _thing(paint, rng, line, width)
    for _ in range(60):
        left, top = rng.uniform(0, width), rng.uniform(line, height)
        paint.ellipse(
            [left, top, left + rng.uniform(4, 40), top + rng.uniform(1, 5)],
            fill=tone_of(floor, rng.uniform(0.85, 1.12)),
        )
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32)
    coarse = Image.fromarray(rng.normal(0, 5, (height // 8, width // 8)).astype(np.float32))
    grain = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    # A camera sets its exposure, and part of its white balance, to the scene.
    pixels = (pixels - 122) * 0.85 + 122
    colour = pixels.mean((0, 1))
    pixels = pixels * (122 / colour.mean()) * (colour.mean() / colour) ** 0.6 + grain[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def tint(rng: np.random.Generator, colour: Colour) -> Colour:
    """A colour near to the given one."""
    red, green, blue = (int(v) for v in np.clip(np.array(colour) + rng.normal(0, 8, 3), 20, 235))
    return red, green, blue


def any_colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    """A colour with channels from low to below high."""
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def _tiles(paint: ImageDraw.ImageDraw, floor: Colour, line: int, width: int, height: int) -> None:
    dark = tone_of(floor, 0.86)
    step, y = 3.0, float(line)
    while y < height:
        paint.line([0, y, width, y], fill=dark)
        step *= 1.22
        y += step
    middle = width / 2
    for k in range(-40, 41):
        paint.line([middle + 12 * k, line, middle + 42 * k, height], fill=dark)


def _panel(
    paint: ImageDraw.ImageDraw, rng: np.random.Generator, wall: Colour, line: int, width: int
) -> None:
    x, y = rng.uniform(0, width), rng.uniform(0, 0.7 * line)
    w, h = rng.uniform(12, 60), rng.uniform(12, line - y)
    bright = (
        tint(rng, (176, 176, 178)) if rng.random() < 0.5 else tone_of(wall, rng.uniform(0.5, 1.3))
    )
    if rng.random() < 0.25:
        bright = any_colour(rng, 40, 220)
    paint.rectangle([x, y, x + w, y + h], fill=bright, outline=tone_of(wall, 0.7))


def _bush(paint: ImageDraw.ImageDraw, rng: np.random.Generator, line: int, width: int) -> None:
    x, size = rng.uniform(0, width), rng.uniform(10, 46)
    green = tint(rng, (62, 92, 48))
    base = line + rng.uniform(-4, 12)
    if rng.random() < 0.4:
        paint.rectangle(
            [x - size / 12, base - 2 * size, x + size / 12, base], fill=tint(rng, (84, 66, 50))
        )
        base -= 1.5 * size
    for _ in range(5):
        dx, dy = rng.normal(0, size / 3, 2)
        radius = size * rng.uniform(0.3, 0.6)
        paint.ellipse(
            [
                x + dx - radius,
                base - size / 2 + dy - radius,
                x + dx + radius,
                base - size / 2 + dy + radius,
            ],
            fill=tone_of(green, rng.uniform(0.75, 1.25)),
        )


def _thing(paint: ImageDraw.ImageDraw, rng: np.random.Generator, line: int, width: int) -> None:
    """A parked bicycle, a post or a crate at the wall."""
    x, base = rng.uniform(0, width), line + rng.uniform(2, 26)
    colour = any_colour(rng, 30, 200)
    kind = rng.integers(3)
    if kind == 0:
        for wheel in (0, 26):
            paint.ellipse(
                [x + wheel, base - 20, x + wheel + 20, base], outline=(38, 38, 40), width=2
            )
        paint.line(
            [x + 10, base - 10, x + 20, base - 26, x + 36, base - 10, x + 16, base - 12],
            fill=colour,
            width=2,
        )
    elif kind == 1:
        paint.rectangle(
            [x, base - rng.uniform(60, 130), x + 5, base], fill=tint(rng, (110, 110, 112))
        )
    else:
        size = rng.uniform(14, 40)
        paint.rectangle([x, base - size, x + size * 1.4, base], fill=colour)
