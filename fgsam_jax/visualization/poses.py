"""Joints and limbs drawn on crops."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from fgsam_jax.errors import InputError
from fgsam_jax.labels import skeleton
from fgsam_jax.visualization.draw import Crop, as_picture, as_tile, colour_key

# Right side of the body warm, left side cold, the middle neutral.
_SIDES = {"right": (255, 140, 40), "left": (60, 170, 255), "": (240, 240, 120)}
_LEFT_OUT = (255, 0, 160)


def pose_overlay(
    image: Crop,
    heat: ArrayLike | None = None,
    *,
    joints: ArrayLike | None = None,
    threshold: float = 0.1,
) -> Image.Image:
    """A crop with the joints and limbs of one person drawn on it.

    Args:
      image: [height, width, 3] uint8 RGB.
      heat: [rows, columns, 18 or more] joint maps in the order of `skeleton.JOINTS`; the highest
        cell of each is its joint.
      joints: [18, 2] x and y in pixels of `image`, instead of `heat`; NaN leaves a joint out.
      threshold: joints whose highest value in `heat` is lower are left out.

    Raises:
      InputError: neither or both of heat and joints, or shapes that do not fit.
    """
    if (heat is None) == (joints is None):
        raise InputError("pose_overlay needs either heat or joints: pass exactly one of them.")
    crop = as_picture(image)
    if heat is not None:
        points = _highest_cells(np.asarray(heat, np.float64), crop.size, threshold)
    else:
        points = np.asarray(joints, np.float64)
    if points.shape != (len(skeleton.JOINTS), 2):
        raise InputError(
            f"Joints must have the shape [{len(skeleton.JOINTS)}, 2], but came with {points.shape}."
        )
    return _with_people(as_tile(crop), [points * np.divide(as_tile(crop).size, crop.size)])


def labelled_pose(image: Crop, people: ArrayLike, mask: ArrayLike | None = None) -> Image.Image:
    """A crop with the labelled joints of all its people, and what the loss leaves out in magenta.

    Args:
      image: [height, width, 3] uint8 RGB.
      people: [any, 18, 3], (x, y, state) in pixels of `image`, the first pixel's centre at 0;
        state 2 is drawn full, 1 with a hole, others are left out.
      mask: [rows, columns], the share of each cell that counts, 0 to 1.

    Raises:
      InputError: shapes that do not fit.
    """
    joints = np.asarray(people, np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (len(skeleton.JOINTS), 3):
        raise InputError(
            f"People must have the shape [any, {len(skeleton.JOINTS)}, 3], "
            f"but came with {joints.shape}."
        )
    crop = as_picture(image)
    tile = as_tile(crop)
    if mask is not None:
        left_out = Image.fromarray(np.uint8(255 * (1 - np.asarray(mask, np.float64)) * 0.6))
        shade = left_out.resize(tile.size, Image.Resampling.NEAREST)
        tile.paste(Image.new("RGB", tile.size, _LEFT_OUT), mask=shade)
    points = (joints[..., :2] + 0.5) * np.divide(tile.size, crop.size)
    points[joints[..., 2] <= 0] = np.nan
    return _with_people(tile, points, joints[..., 2] == 1)


def pose_key() -> Image.Image:
    """What the colours of `labelled_pose` mean."""
    named = {"right": "the person's right", "left": "the person's left", "": "neither"}
    entries = [(colour, named[side]) for side, colour in _SIDES.items()]
    return colour_key([*entries, (_LEFT_OUT, "masked; joints with a hole are hidden")])


def _with_people(
    tile: Image.Image,
    people: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    hidden: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """Limbs and joints at points [people, 18, 2] of the tile; NaN leaves a joint out."""
    # Pillow draws without smoothing: draw large and shrink.
    fine = 3
    canvas = tile.resize((tile.width * fine, tile.height * fine), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for person, place in enumerate(people):
        points = place * fine
        seen = np.isfinite(points.sum(axis=1))
        for start, end in skeleton.LIMBS:
            # The two links from the shoulders to the ears belong to the affinity fields only.
            if seen[start] and seen[end] and (start, end) not in ((2, 16), (5, 17)):
                line = [*points[start], *points[end]]
                draw.line(line, fill=(0, 0, 0), width=5 * fine)
                draw.line(line, fill=_side_colour(end), width=3 * fine)
        for joint, (x, y) in enumerate(points):
            if seen[joint]:
                rings = [(4.5, (0, 0, 0)), (3, _side_colour(joint))]
                if hidden is not None and hidden[person, joint]:
                    rings.append((1.5, (0, 0, 0)))
                for radius, colour in rings:
                    reach = radius * fine
                    draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    return canvas.resize(tile.size, Image.Resampling.LANCZOS)


def _highest_cells(
    heat: NDArray[np.float64], size: tuple[int, int], threshold: float
) -> NDArray[np.float64]:
    """Centres [18, 2] in pixels of each joint's highest cell, NaN below the threshold."""
    joints = len(skeleton.JOINTS)
    if heat.ndim != 3 or heat.shape[2] < joints:
        raise InputError(
            f"Joint maps must have the shape [rows, columns, {joints} or more], "
            f"but came with {heat.shape}."
        )
    rows, columns = heat.shape[:2]
    flat = heat[..., :joints].reshape(rows * columns, joints)
    y, x = np.divmod(flat.argmax(axis=0), columns)
    points = (np.stack([x, y], axis=1) + 0.5) * np.divide(size, (columns, rows))
    points[flat.max(axis=0) < threshold] = np.nan
    return points


def _side_colour(joint: int) -> tuple[int, int, int]:
    side = skeleton.JOINTS[joint].partition("_")[0]
    return _SIDES.get(side, _SIDES[""])
