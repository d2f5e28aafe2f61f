"""Image files decoded and resized, joints and masks with them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import STRIDE


def resized(example: dict[str, Any], height: int, width: int) -> dict[str, np.ndarray]:
    """A record's image resized as a whole (bilinear), see `LocalBuilder.view`.

    Args:
      example: "image" encoded; it may have "joints" [people, 18, 3] in pixels of the image, and
        "mask", an encoded image of the same size that is 255 where the pose loss counts. Without
        a mask it counts everywhere.
      height, width: to resize to, in pixels.
    """
    with Image.open(io.BytesIO(example["image"])) as image:
        size = image.size
        rgb = image.convert("RGB")
    seen = {"image": np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))}
    if "joints" in example:
        grid = (width // STRIDE, height // STRIDE)
        seen["joints"] = scale_joints(example["joints"], size, (width, height))
        seen["mask"] = (
            scale_mask(example["mask"], grid)
            if "mask" in example
            else np.ones(grid[::-1], np.float32)
        )
    return seen


def scale_joints(joints: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Joints [people, 18, 3] after an image of (width, height) `old` was resized to `new`.

    A pixel's centre is its whole-numbered coordinate, so its corner lies half a pixel before it.
    """
    scaled = joints.astype(np.float32)
    scaled[..., :2] = (scaled[..., :2] + 0.5) * (np.array(new, np.float32) / old) - 0.5
    return scaled


def scale_mask(encoded: bytes, size: tuple[int, int]) -> np.ndarray:
    """The mask averaged over the cells of a grid of (width, height) `size`, from 0 to 1."""
    with Image.open(io.BytesIO(encoded)) as image:
        grid = image.convert("F").resize(size, Image.Resampling.BOX)
    return np.asarray(grid, np.float32) / 255


def read_image(path: Path) -> tuple[bytes, Image.Image]:
    """The bytes of an image file and the image they decode to, RGB; InputError if they do not."""
    try:
        encoded = path.read_bytes()
        with Image.open(io.BytesIO(encoded)) as image:
            return encoded, image.convert("RGB")
    except UnidentifiedImageError as error:
        # Pillow would name its buffer.
        why = "it is of no known format" if encoded else "it is empty"
        raise InputError(
            f"{path} cannot be decoded as an image: {why}. Put a whole one in its place."
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be decoded as an image ({error}). Put a whole one in its place."
        ) from error
