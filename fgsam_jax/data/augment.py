"""Random changes of a batch, made on the device inside the step."""

from typing import Any

import jax
import jax.numpy as jnp

from fgsam_jax.labels.pose_targets import flip_joints


def augment(
    key: jax.Array, batch: dict[str, Any], *, flip: bool, axis_name: str | None = None
) -> dict[str, Any]:
    """All augmentations of a training batch; a new one is a function below and a line here.

    Args:
      key: PRNG key of this step; augmentations after the first fold a number of their own in.
      batch: see `random_flip`.
      flip: mirror examples at random.
      axis_name: the axis over which the batch is spread.
    """
    if flip:
        batch = random_flip(key, batch, axis_name=axis_name)
    return batch


def random_flip(
    key: jax.Array, batch: dict[str, Any], *, axis_name: str | None = None
) -> dict[str, Any]:
    """Mirror each example with probability 1/2: its image, and its joints and mask if it has any.

    The choice depends on the key and on the example's place in the whole batch, not on how the
    batch is spread over devices.

    Args:
      key: of this step.
      batch: "image" [batch, height, width, 3]; "joints" [batch, people, 18, 3] in pixels and
        "mask" [batch, h, w] may be there; other entries pass through.
      axis_name: the axis over which the batch is spread.

    Returns:
      A batch of the same shapes.
    """
    size, _, width, _ = batch["image"].shape
    if axis_name is None:
        coins = jax.random.bernoulli(key, shape=(size,))
    else:
        whole = (jax.lax.axis_size(axis_name), size)
        coins = jax.random.bernoulli(key, shape=whole)[jax.lax.axis_index(axis_name)]

    def choose(flipped: jax.Array, original: jax.Array) -> jax.Array:
        return jnp.where(coins.reshape(-1, *(1,) * (original.ndim - 1)), flipped, original)

    changed = dict(batch)
    for name in ("image", "mask"):
        if name in batch:
            changed[name] = choose(batch[name][:, :, ::-1], batch[name])
    if "joints" in batch:
        changed["joints"] = choose(flip_joints(batch["joints"], width), batch["joints"])
    return changed
