"""Random changes of a batch, made on the device inside the step.

Every choice depends on the key and on the example's place in the whole batch, not on how the batch
is spread over devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.labels.pose_targets import flip_joints
from fgsam_jax.labels.skeleton import STRIDE

Batch = dict[str, Any]

# ImageNet's mean colour, which the backbones see as nothing.
MEAN_COLOUR = np.array([124, 116, 104], np.uint8)
# Rectangles to erase: their share of the image and their height by width; Zhong et al., "Random
# Erasing Data Augmentation", 2017, with the bounds of reid-strong-baseline.
_AREAS = (0.02, 0.4)
_ASPECTS = (0.3, 1 / 0.3)
_TRIES = 10  # in 1 of 17 the rectangle is wider than a 2:1 image; all fail once in 10^12


def augment(
    key: jax.Array,
    batch: Batch,
    *,
    flip: bool,
    pad: int = 0,
    erase: float = 0.0,
    axis_name: str | None = None,
) -> Batch:
    """All augmentations of a training batch; a new one is a function below and a line here.

    Args:
      key: PRNG key of this step; augmentations after the first fold a number of their own in.
      batch: "image" uint8 [batch, height, width, 3]; "joints" [batch, people, 18, 3] in pixels and
        "mask" [batch, height / 8, width / 8], the weight W, may be there; other entries pass
        through.
      flip: mirror examples at random.
      pad: see `random_crop`; 0 for none.
      erase: the probability of `random_erasing`.
      axis_name: the axis over which the batch is spread.
    """
    if flip:
        batch = random_flip(key, batch, axis_name=axis_name)
    if pad:
        batch = random_crop(jax.random.fold_in(key, 1), batch, pad, axis_name=axis_name)
    if erase:
        batch = random_erasing(jax.random.fold_in(key, 2), batch, erase, axis_name=axis_name)
    return batch


def random_flip(key: jax.Array, batch: Batch, *, axis_name: str | None = None) -> Batch:
    """Mirror each example with probability 1/2: its image, and its joints and mask if it has any.

    Args:
      key: of this step.
      batch: see `augment`.
      axis_name: the axis over which the batch is spread.

    Returns:
      A batch of the same shapes.
    """
    size, _, width, _ = batch["image"].shape
    coins = _drawn(lambda shape: jax.random.bernoulli(key, shape=shape), size, axis_name)

    def choose(flipped: jax.Array, original: jax.Array) -> jax.Array:
        return jnp.where(coins.reshape(-1, *(1,) * (original.ndim - 1)), flipped, original)

    changed = dict(batch)
    for name in ("image", "mask"):
        if name in batch:
            changed[name] = choose(batch[name][:, :, ::-1], batch[name])
    if "joints" in batch:
        changed["joints"] = choose(flip_joints(batch["joints"], width), batch["joints"])
    return changed


def random_crop(key: jax.Array, batch: Batch, pad: int, *, axis_name: str | None = None) -> Batch:
    """Shift each example by up to `pad` pixels each way; what comes in has the mean colour.

    Joints move along, also out of the image. The mask is the mean of its cells' pixels, with 1
    where the image is filled: nobody is there.

    Args:
      key: of this step.
      batch: see `augment`.
      pad: pixels.
      axis_name: the axis over which the batch is spread.

    Returns:
      A batch of the same shapes.
    """
    size, height, width, _ = batch["image"].shape
    corners = _drawn(
        lambda shape: jax.random.randint(key, (*shape, 2), 0, 2 * pad + 1), size, axis_name
    )

    def crop(pixels: jax.Array, fill: Any) -> jax.Array:
        frame = (size, height + 2 * pad, width + 2 * pad, pixels.shape[-1])
        around = jnp.broadcast_to(jnp.asarray(fill, pixels.dtype), frame)
        around = around.at[:, pad : pad + height, pad : pad + width].set(pixels)
        cut = jax.vmap(lambda x, at: jax.lax.dynamic_slice(x, (*at, 0), pixels.shape[1:]))
        return cut(around, corners)

    changed = {**batch, "image": crop(batch["image"], MEAN_COLOUR)}
    if "mask" in batch:
        changed["mask"] = _cells(crop(_pixels(batch["mask"])[..., None], 1)[..., 0])
    if "joints" in batch:
        moved = (pad - corners[:, ::-1]).astype(jnp.float32)[:, None, None]
        joints = batch["joints"]
        changed["joints"] = jnp.concatenate([joints[..., :2] + moved, joints[..., 2:]], -1)
    return changed


def random_erasing(
    key: jax.Array, batch: Batch, probability: float, *, axis_name: str | None = None
) -> Batch:
    """Fill a rectangle of some examples with the mean colour (Zhong et al., 2017).

    What cannot be seen is not judged: the mask is 0 there, and joints inside become unknown.

    Args:
      key: of this step.
      batch: see `augment`.
      probability: of an example to lose a rectangle.
      axis_name: the axis over which the batch is spread.

    Returns:
      A batch of the same shapes.
    """
    size, height, width, _ = batch["image"].shape
    chance, tries = jax.random.split(key)
    chosen = _drawn(lambda shape: jax.random.uniform(chance, shape) < probability, size, axis_name)
    area, aspect, top, left = jnp.moveaxis(
        _drawn(lambda shape: jax.random.uniform(tries, (*shape, _TRIES, 4)), size, axis_name), -1, 0
    )
    pixels = height * width * (_AREAS[0] + area * (_AREAS[1] - _AREAS[0]))
    aspect = _ASPECTS[0] + aspect * (_ASPECTS[1] - _ASPECTS[0])
    tall, wide = jnp.round(jnp.sqrt(pixels * aspect)), jnp.round(jnp.sqrt(pixels / aspect))
    fits = (tall < height) & (wide < width)
    # All whole numbers from 0 to height - tall are equally likely.
    top, left = jnp.floor(top * (height - tall + 1)), jnp.floor(left * (width - wide + 1))
    first = jnp.argmax(fits, axis=1)[:, None]
    top, left, tall, wide = (jnp.take_along_axis(x, first, axis=1) for x in (top, left, tall, wide))
    chosen &= fits.any(axis=1)

    def inside(x: Any, y: Any) -> jax.Array:
        """Of points of each example, [batch, points]."""
        within = (top <= y) & (y < top + tall) & (left <= x) & (x < left + wide)
        return within & chosen[:, None]

    y, x = jnp.mgrid[:height, :width].reshape(2, 1, -1)
    gone = inside(x, y).reshape(size, height, width)
    changed = {**batch, "image": jnp.where(gone[..., None], MEAN_COLOUR, batch["image"])}
    if "mask" in batch:
        changed["mask"] = _cells(jnp.where(gone, 0, _pixels(batch["mask"])))
    if "joints" in batch:
        joints = batch["joints"]
        x, y = (jnp.round(joints[..., axis]).reshape(size, -1) for axis in (0, 1))
        hidden = inside(x, y).reshape(joints.shape[:-1])
        state = jnp.where(hidden, -1, joints[..., 2])
        changed["joints"] = jnp.concatenate([joints[..., :2], state[..., None]], -1)
    return changed


def _drawn(
    draw: Callable[[tuple[int, ...]], jax.Array], size: int, axis_name: str | None
) -> jax.Array:
    """What `draw` gives for the shape of the whole batch, of this device's `size` examples."""
    if axis_name is None:
        return draw((size,))
    return draw((jax.lax.axis_size(axis_name), size))[jax.lax.axis_index(axis_name)]


def _pixels(mask: jax.Array) -> jax.Array:
    """A mask's cells [batch, h, w] as pixels, [batch, 8 h, 8 w]."""
    return jnp.repeat(jnp.repeat(mask, STRIDE, axis=1), STRIDE, axis=2)


def _cells(pixels: jax.Array) -> jax.Array:
    """The means of a mask's cells; the inverse of `_pixels`."""
    batch, height, width = pixels.shape
    cells = pixels.reshape(batch, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return cells.mean(axis=(2, 4))
