"""Image files decoded, encoded and resized, joints and masks with them.

Training, the checks and a trained model read images by these functions alone, so that a model sees
in use what it saw in training.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fgsam_jax.errors import InputError, printable
from fgsam_jax.labels.skeleton import STRIDE
from fgsam_jax.runtime.files import GIB, read_bytes

# Told by the content. Pillow would take more, and hand PostScript to a program of the PATH.
FORMATS = ("JPEG", "PNG", "BMP")
MOST_PIXELS = 2**26

# What shows through where an image is transparent, as in most viewers.
_BACKGROUND = (255, 255, 255, 255)

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's decoders raise all of these on broken files.
_UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def read_image(path: Path) -> tuple[bytes, Image.Image]:
    """The bytes of an image file and the image that `decode` makes of them.

    Raises:
      InputError: it is no regular file, or does not decode.
    """
    encoded = read_bytes(path, limit=GIB)
    return encoded, decode(encoded, name=str(path))


def decode(encoded: bytes, mode: str = "RGB", *, name: str = "an image") -> Image.Image:
    """The image that the bytes of a file hold, as a viewer shows it, see `as_shown`.

    Args:
      encoded: of a JPEG, PNG or BMP file of at most 2^26 pixels.
      mode: of Pillow.
      name: for the message.

    Raises:
      InputError: they hold no such image.
    """
    with _told(name):
        if not encoded:
            raise ValueError("it is empty")
        try:
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        except UnidentifiedImageError:  # it would name its buffer
            raise ValueError("it is of another format, or not whole") from None
        with image:
            return _as_shown(image).convert(mode)


def as_shown(image: Image.Image, *, name: str = "an image") -> Image.Image:
    """An image of Pillow in RGB as a viewer shows it.

    It is turned as its EXIF says, transparency shows white, and of 16 bits the upper 8 are taken.

    Raises:
      InputError: its pixels have no meaning as 8 bits, it does not decode, or is too large.
    """
    with _told(name):
        return _as_shown(image).convert("RGB")


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """InputError with the name of the image for all that Pillow raises."""
    try:
        yield
    except _UNREADABLE as error:
        raise InputError(
            f"{printable(name, 300)} cannot be read as an image: {str(error).rstrip('.')}. Put a "
            f"whole JPEG, PNG or BMP in its place."
        ) from error


def _as_shown(image: Image.Image) -> Image.Image:
    if not 0 < image.width * image.height <= MOST_PIXELS:
        found = f"{image.width:,} x {image.height:,}"
        raise ValueError(f"it has {found} pixels, 1 to {MOST_PIXELS:,} are decoded")
    image.load()
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I;16"):
        image = _upper_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"of Pillow's mode {image.mode} it is not known which value is white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, _BACKGROUND)
        image = Image.alpha_composite(background, image).convert("RGB")
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(0x0112)
    except Exception:  # of any kind in a broken description; the pixels are whole
        return None


def _upper_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey to 8 as Pillow brings 16 bits of colour to 8."""
    deep = np.asarray(image)
    grey = Image.fromarray((deep >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    return grey


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
