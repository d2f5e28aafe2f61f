"""The place around a drawn pedestrian: cameras, what stands in front of them, and what they do
to a picture."""

import io
import itertools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fgsam_jax.data.synthetic.pedestrian import OBSTACLE, Canvas, tone_of
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


@dataclass(frozen=True)
class Camera:
    """What stays with a camera: its scene and how it sees."""

    scene: Image.Image
    light: complex  # direction the light comes from, in the picture
    slope: float  # brightness from left to right
    gains: tuple[float, float, float]
    contrast: float
    brightness: float
    pitch: float
    detail: float  # share of the resolution that is left
    blur: float  # pixels
    noise: float  # grey levels
    quality: int  # of the JPEG


def sample_camera(rng: np.random.Generator, style: int) -> Camera:
    """A random camera in the scene of `STYLES[style % 6]`."""
    angle = rng.uniform(math.pi, 2 * math.pi)
    horizon = float(rng.uniform(0.38, 0.55))
    warm = rng.normal(0, 0.035)
    gains = np.exp(np.array([warm, rng.normal(0, 0.03), -warm]) + rng.normal(0, 0.02, 3))
    red, green, blue = (float(g) for g in gains)
    return Camera(
        scene=_scene(rng, style % len(STYLES), horizon),
        light=complex(math.cos(angle), math.sin(angle)),
        slope=float(rng.normal(0, 0.1)),
        gains=(red, green, blue),
        contrast=float(rng.uniform(0.85, 1.1)),
        brightness=float(rng.uniform(-8, 8)),
        pitch=float(rng.uniform(0.04, 0.24)),
        detail=float(rng.uniform(0.6, 1.0)),
        blur=float(rng.uniform(0.0, 0.6)),
        noise=float(rng.uniform(1.5, 6.0)),
        quality=int(rng.integers(68, 94)),
    )


def _scene(rng: np.random.Generator, style: int, horizon: float) -> Image.Image:
    """A wall and a floor with the clutter of one style, 480 x 256 pixels."""
    width, height = 480, 256
    line = round(horizon * height)
    wall, floor = _tint(rng, _WALLS[style]), _tint(rng, _FLOORS[style])
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


def _tint(rng: np.random.Generator, colour: Colour) -> Colour:
    red, green, blue = (int(v) for v in np.clip(np.array(colour) + rng.normal(0, 8, 3), 20, 235))
    return red, green, blue


def _any_colour(rng: np.random.Generator, low: int, high: int) -> Colour:
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
        _tint(rng, (176, 176, 178)) if rng.random() < 0.5 else tone_of(wall, rng.uniform(0.5, 1.3))
    )
    if rng.random() < 0.25:
        bright = _any_colour(rng, 40, 220)
    paint.rectangle([x, y, x + w, y + h], fill=bright, outline=tone_of(wall, 0.7))


def _bush(paint: ImageDraw.ImageDraw, rng: np.random.Generator, line: int, width: int) -> None:
    x, size = rng.uniform(0, width), rng.uniform(10, 46)
    green = _tint(rng, (62, 92, 48))
    base = line + rng.uniform(-4, 12)
    if rng.random() < 0.4:
        paint.rectangle(
            [x - size / 12, base - 2 * size, x + size / 12, base], fill=_tint(rng, (84, 66, 50))
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
    colour = _any_colour(rng, 30, 200)
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
            [x, base - rng.uniform(60, 130), x + 5, base], fill=_tint(rng, (110, 110, 112))
        )
    else:
        size = rng.uniform(14, 40)
        paint.rectangle([x, base - size, x + size * 1.4, base], fill=colour)


def backdrop(
    camera: Camera, rng: np.random.Generator, size: tuple[int, int], zoom: float = 1.0
) -> Image.Image:
    """A random window of the camera's scene, `size` (width, height) pixels large."""
    scene = camera.scene
    high = min(scene.height, scene.height * 0.72 * zoom)
    wide = min(scene.width, high * size[0] / size[1])
    left = rng.uniform(0, scene.width - wide)
    top = rng.uniform(0.4, 1.0) * (scene.height - high)
    return scene.resize(size, Image.Resampling.BILINEAR, (left, top, left + wide, top + high))


def obstruct(canvas: Canvas, rng: np.random.Generator, spot: complex, scale: float) -> None:
    """Paints something in front of a person who stands at `spot`: a post, a hedge, a bicycle or a
    crate; `scale` is a person's height in canvas pixels."""
    kind = rng.integers(4)
    colour = _any_colour(rng, 30, 210)
    x = spot.real + rng.normal(0, 0.14) * scale
    base = spot.imag + 0.03 * scale

    def box(left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        corners = [
            complex(left, top),
            complex(right, top),
            complex(right, bottom),
            complex(left, bottom),
        ]
        canvas.polygon(corners, fill, OBSTACLE)

    if kind == 0:
        wide = rng.uniform(0.02, 0.05) * scale
        box(x - wide, base - 1.4 * scale, x + wide, base, _tint(rng, (120, 120, 122)))
    elif kind == 1:
        top = base - rng.uniform(0.16, 0.34) * scale
        green = _tint(rng, (66, 98, 52))
        for k in range(-6, 7):
            canvas.ellipse(
                complex(x + 0.09 * k * scale, top + rng.uniform(0, 0.05) * scale),
                0.1 * scale,
                0.09 * scale,
                tone_of(green, rng.uniform(0.8, 1.2)),
                OBSTACLE,
            )
        box(x - 0.6 * scale, top + 0.04 * scale, x + 0.6 * scale, base + 0.2 * scale, green)
    elif kind == 2:
        high, wide = rng.uniform(0.15, 0.4) * scale, rng.uniform(0.12, 0.3) * scale
        box(x - wide, base - high, x + wide, base, colour)
        box(
            x - wide * 0.9,
            base - high * 0.9,
            x + wide * 0.9,
            base - high * 0.5,
            tone_of(colour, 1.2),
        )
    else:
        radius, thick = 0.15 * scale, 0.02 * scale
        for hub in (x - 0.24 * scale, x + 0.24 * scale):
            ring = [complex(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 15)]
            points = [complex(hub, base - radius) + radius * r for r in ring]
            for one, two in itertools.pairwise(points):
                canvas.limb(one, two, (thick, thick), (40, 40, 42), OBSTACLE)
        bars = [
            complex(x - 0.24 * scale, base - radius),
            complex(x - 0.08 * scale, base - 0.38 * scale),
            complex(x + 0.16 * scale, base - 0.38 * scale),
            complex(x + 0.24 * scale, base - radius),
        ]
        for one, two in itertools.pairwise(bars):
            canvas.limb(one, two, (thick, thick), colour, OBSTACLE)


def take(
    camera: Camera, rng: np.random.Generator, image: Image.Image, size: tuple[int, int]
) -> bytes:
    """The canvas as the camera's JPEG of `size` (width, height) pixels.

    The picture loses detail, gets the camera's light, cast, contrast and noise, each with a little
    of the moment's own.
    """
    detail = camera.detail * rng.uniform(0.75, 1.0)
    small = max(8, round(size[0] * detail)), max(8, round(size[1] * detail))
    image = image.resize(small, Image.Resampling.BOX).resize(size, Image.Resampling.BILINEAR)
    blur = camera.blur * rng.uniform(0.3, 1.5)
    if blur > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    contrast = camera.contrast * rng.uniform(0.92, 1.08)
    across = 1 + np.linspace(-1, 1, size[0])[None, :, None] * camera.slope
    cast = np.array(camera.gains) * np.exp(rng.normal(0, 0.04) + rng.normal(0, 0.012, 3))
    level = 118 * (1 - contrast) + camera.brightness + rng.normal(0, 3)
    # After the JPEG's coarse colours only the brightness of the noise is left.
    noise = rng.standard_normal((size[1], size[0], 1), np.float32) * np.float32(camera.noise)
    pixels = np.asarray(image, np.float32) * (contrast * across * cast).astype(np.float32)
    pixels += noise + np.float32(level)
    file = io.BytesIO()
    finished = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    finished.save(file, "JPEG", quality=int(camera.quality - rng.integers(0, 12)))
    return file.getvalue()
