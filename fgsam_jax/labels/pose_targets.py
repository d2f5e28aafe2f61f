"""Ground truth of the pose resolve net: confidence maps of joints and affinity fields of limbs.

Source: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", and
OpenPose's training code, with two departures: overlapping people take the maximum of a joint's
confidence and the average of a limb's field, as the paper says and the code does not.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.labels.skeleton import AFFINITY_CHANNELS, LIMBS, MIRRORED_JOINT, STRIDE

# Confidences below exp(-4.6052) = 0.01 are dropped.
_LARGEST_EXPONENT = 4.6052
# Half the width of a limb, in cells.
_LIMB_WIDTH = 1.0


def pose_targets(
    joints: jax.Array, height: int, width: int, *, stride: int = STRIDE, sigma: float = 7.0
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    r"""Targets of both streams, and which of their channels the source of the joints knows.

    Heat of a joint at cell g, whose centre is at stride g + stride / 2 - 0.5 pixels:

    .. math::
      \max_{people} \exp(-d^2 / 2 \sigma^2), \quad 0 \text{ where } d^2 / 2 \sigma^2 > 4.6052

    and the background is 1 minus the largest of the joints. Affinity of a limb from a to b
    (joints / stride, in cells): the unit vector from a to b in the cells of the rectangle
    round(min - 1) <= g < round(max + 1) that are at most 1 cell from the line through a and b,
    averaged over the people whose limbs overlap there. As in OpenPose the cell g stands here for
    the point stride g, not for its centre.

    A joint is drawn if its state is above 0; a limb if both its joints are and they differ. A
    joint is known if at least one person of the image has it with a state other than -1, so that
    people of state -1 can pad the batch. A limb is known if both its joints are. The background
    is known only if every joint is: it would else claim that there is none where there are
    unknown ones.

    Args:
      joints: float [batch, people, 18, 3], (x, y, state) in pixels of an image of this height and
        width; state 2 visible, 1 hidden, 0 not labelled, -1 unknown to the source.
      height, width: size of the image in pixels.
      stride: pixels per cell.
      sigma: spread of a joint in pixels.

    Returns:
      heat: [batch, height / stride, width / stride, 19], background last.
      affinity: [batch, height / stride, width / stride, 38], x and y of each limb.
      known_heat: [batch, 19], 1 for a channel to train on, else 0.
      known_affinity: [batch, 38], likewise.
    """
    batch = joints.shape[0]
    rows = jnp.arange(height // stride, dtype=jnp.float32)
    columns = jnp.arange(width // stride, dtype=jnp.float32)
    start, end = np.array(LIMBS).T

    def add_person(sums, person):
        """Draws one person of every image; looping keeps the memory free of a people axis."""
        heat, field, count = sums
        place, state = person[..., :2], person[..., 2]
        heat = jnp.maximum(heat, _joint_heat(place, state, rows, columns, stride, sigma))
        drawn = (state[:, start] > 0) & (state[:, end] > 0)
        inside, unit = _limb_cells(place[:, start] / stride, place[:, end] / stride, rows, columns)
        inside = jnp.where(inside & drawn[:, None, None], 1.0, 0.0)
        return (heat, field + inside[..., None] * unit[:, None, None], count + inside), None

    grid = (batch, rows.size, columns.size)
    nothing = (
        jnp.zeros((*grid, joints.shape[2])),
        jnp.zeros((*grid, len(LIMBS), 2)),
        jnp.zeros((*grid, len(LIMBS))),
    )
    people = jnp.moveaxis(joints.astype(jnp.float32), 1, 0)
    (heat, field, count), _ = jax.lax.scan(add_person, nothing, people)

    background = 1 - heat.max(-1, keepdims=True)
    affinity = (field / jnp.maximum(count, 1)[..., None]).reshape(*grid, AFFINITY_CHANNELS)
    known = (joints[..., 2] >= 0).any(1)
    known_heat = jnp.concatenate([known, known.all(-1, keepdims=True)], -1)
    known_affinity = jnp.repeat(known[:, start] & known[:, end], 2, axis=-1)
    return (
        jnp.concatenate([heat, background], -1),
        affinity,
        known_heat.astype(jnp.float32),
        known_affinity.astype(jnp.float32),
    )


def _joint_heat(place, state, rows, columns, stride, sigma):
    """Confidence of one person's joints: [batch, rows, columns, joints]."""
    shift = stride / 2 - 0.5
    across = (columns[:, None] * stride + shift - place[:, None, :, 0]) ** 2
    down = (rows[:, None] * stride + shift - place[:, None, :, 1]) ** 2
    exponent = (down[:, :, None] + across[:, None]) / (2 * sigma**2)
    drawn = (exponent <= _LARGEST_EXPONENT) & (state[:, None, None] > 0)
    return jnp.where(drawn, jnp.exp(-exponent), 0.0)


def _limb_cells(a, b, rows, columns):
    """Cells of one person's limbs, bool [batch, rows, columns, limbs], and [batch, limbs, 2]."""
    length = jnp.linalg.norm(b - a, axis=-1, keepdims=True)
    unit = jnp.where(length > 0, (b - a) / jnp.where(length > 0, length, 1.0), 0.0)
    low = _round(jnp.minimum(a, b) - _LIMB_WIDTH)[:, None]
    high = _round(jnp.maximum(a, b) + _LIMB_WIDTH)[:, None]
    x, y = columns[:, None], rows[:, None]
    inside_x = (low[..., 0] <= x) & (x < high[..., 0]) & (length[:, None, :, 0] > 0)
    inside_y = (low[..., 1] <= y) & (y < high[..., 1])
    across = (x - a[:, None, :, 0]) * unit[:, None, :, 1]
    down = (y - a[:, None, :, 1]) * unit[:, None, :, 0]
    near = jnp.abs(across[:, None] - down[:, :, None]) <= _LIMB_WIDTH
    return inside_x[:, None] & inside_y[:, :, None] & near, unit


def _round(x):
    """Halves go up, as in OpenPose; NumPy's rounding takes them to the even number."""
    return jnp.floor(x + 0.5)


def flip_joints(joints: jax.Array, width: int) -> jax.Array:
    """Joints [..., 18, 3] of the mirrored image: x becomes width - 1 - x, left becomes right.

    Heat mirrors exactly with the image. Affinity does to within a cell, as its cells stand for
    their corners and not for their centres.
    """
    mirrored = jnp.asarray(joints)[..., MIRRORED_JOINT, :]
    return mirrored.at[..., 0].set(width - 1 - mirrored[..., 0])
