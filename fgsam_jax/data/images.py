"""Image files decoded, encoded and resized, joints and masks with them.

Training, the checks and a trained model read images by these functions alone, so that a model sees
in use what it saw in training.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import STRIDE


def read_image(path: Path) -> tuple[bytes, Image.Image]:
    """The bytes of an image file and the image they decode to, RGB.

    Raises:
      InputError: there is no such file, or it does not decode.
    """
    try:
        encoded = path.read_bytes()
        return encoded, decode(encoded)
    except UnidentifiedImageError as error:
        # Pillow would name its buffer.
        why = "it is of no known format" if encoded else "it is empty"
        raise InputError(
            f"{path} cannot be read as an image: {why}. Put a whole one in its place."
        ) from error
    # Pillow's decoders raise all of these on broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be read as an image ({error}). Put a whole one in its place."
        ) from error


def decode(encoded: bytes, mode: str = "RGB") -> Image.Image:
    """The image that the bytes of a file hold, in a mode of Pillow."""
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert(mode)


def encode(image: Image.Image, form: str, **options: int) -> bytes:
    """The bytes of a file of an image, in a format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def resize(image: Image.Image, height: int, width: int) -> np.ndarray:
    """A whole RGB image resized (bilinear, every pixel counted): uint8 [height, width, 3]."""
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def resized(example: dict[str, Any], height: int, width: int) -> dict[str, np.ndarray]:
    """A record's image resized as a whole (bilinear), see `LocalBuilder.view`.

    Args:
      example: "image" encoded; it may have "joints" [people, 18, 3] in pixels of the image, and
        "mask", an encoded image of the same size that is 255 where the pose loss counts. Without
        a mask it counts everywhere.
      height, width: to resize to, in pixels.
    """
    image = decode(example["image"])
    seen = {"image": resize(image, height, width)}
    if "joints" in example:
        grid = (width // STRIDE, height // STRIDE)
        seen["joints"] = scale_joints(example["joints"], image.size, (width, height))
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
    grid = decode(encoded, "F").resize(size, Image.Resampling.BOX)
    return np.asarray(grid, np.float32) / 255
