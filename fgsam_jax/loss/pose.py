"""Masked squared error of confidence maps and affinity fields."""

import jax
import jax.numpy as jnp

from fgsam_jax.errors import check_arrays
from fgsam_jax.settings import in_any_program


@in_any_program
def pose_error(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    r"""Masked squared error of one stage and stream, summed over cells and channels.

    Eq. (3) for the confidence maps, Eq. (4) for the affinity fields:

    .. math:: \tfrac12 \sum_c \sum_p W_c(p) \, (H_c(p) - G_c(p))^2

    The half is OpenPose's, so that its published learning rates keep their meaning.

    Args:
      prediction: [batch, height, width, channels].
      target: the same shape.
      weight: W, of four axes that are as long or 1, or one number; 0 where the truth is unknown.

    Returns:
      [batch]; NaN where a prediction or target is, whatever its weight.

    Raises:
      InputError: other shapes.

    Example:
      >>> target = jnp.zeros((2, 4, 4, 1))
      >>> known = jnp.array([1.0, 0.0])[:, None, None, None]  # nothing of the second picture
      >>> print(pose_error(target + 0.5, target, known))  # 16 cells of 0.5 * 0.5^2
      [2. 0.]
    """
    maps = "[batch, height, width, channels]"
    any_of_them = "[batch or 1, height or 1, width or 1, channels or 1]"
    needed = f"prediction {maps}, target {maps}, weight {any_of_them}"
    check_arrays(needed, prediction, target, weight)
    return 0.5 * jnp.sum(weight * jnp.square(prediction - target), axis=(1, 2, 3))
