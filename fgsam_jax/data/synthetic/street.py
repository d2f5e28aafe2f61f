"""The place around a drawn pedestrian: cameras, what stands in front of them, and what they do
to a picture."""

import io
import itertools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from fgsam_jax.data.synthetic.pedestrian import OBSTACLE, Canvas, tone_of
from fgsam_jax.data.synthetic.person import Colour
from fgsam_jax.data.synthetic.scenery import STYLES, any_colour, paint_scene, tint


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
        scene=paint_scene(rng, style % len(STYLES), horizon),
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
    colour = any_colour(rng, 30, 210)
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
        box(x - wide, base - 1.4 * scale, x + wide, base, tint(rng, (120, 120, 122)))
    elif kind == 1:
        top = base - rng.uniform(0.16, 0.34) * scale
        green = tint(rng, (66, 98, 52))
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
