"""What a model says of images beside the vector that searches compare."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.labels.skeleton import AFFINITY_CHANNELS, BACKGROUND, PARTS, part_channels
from fgsam_jax.models.outputs import PLENARY


@dataclass(frozen=True, eq=False)
class Description:
    """Of n images; `Embedder.describe` makes it.

    Attributes:
      descriptor: [n, dim] float32, rows of length 1, those of `Embedder.embed`.
      branches: by name, the columns of the descriptor that are this branch's, each of length
        1 / sqrt(branches).
      attributes: by name, [n, classes] float32, the probability of each class.
      visibility: by part, [n] float32 in 0..1, see `part_visibility`; empty for a model without
        a pose net.
    """

    descriptor: np.ndarray
    branches: Mapping[str, slice]
    attributes: Mapping[str, np.ndarray]
    visibility: Mapping[str, np.ndarray]


def branch_columns(info: CheckpointInfo, dim: int) -> dict[str, slice]:
    """Which columns of a descriptor are each branch's, in their order.

    Args:
      info: of the model.
      dim: of its descriptors.

    Example:
      >>> branch_columns(info, 6 * 256 + 512)["head"]  # doctest: +SKIP
      slice(0, 256, None)
    """
    if info.kind != "fgsam":
        return {PLENARY: slice(0, dim)}
    sizes = info.config.model
    columns, start = {}, 0
    for part in sorted(PARTS):  # as in `models.outputs.descriptor`
        stop = start + (sizes.plenary_size if part == PLENARY else sizes.part_size)
        columns[part], start = slice(start, stop), stop
    return columns


def part_visibility(heat: jax.Array) -> dict[str, jax.Array]:
    r"""How surely the joints of each part are seen.

    With the heat map :math:`h_j` of joint j and the joints J of the part:

    .. math:: \frac{1}{|J|} \sum_{j \in J} \min(\max(\max_{cells} h_j, 0), 1)

    Args:
      heat: [batch, h, w, 19], of the last stage of `models.pose_net.Pose`.

    Returns:
      By part, [batch] float32 in 0..1.

    Example:
      >>> nose = jnp.zeros((1, 4, 2, 19)).at[0, 1, 1, 0].set(0.5)  # one of the five of a head
      >>> {part: round(float(seen[0]), 3) for part, seen in part_visibility(nose).items() if seen}
      {'head': 0.1, 'plenary': 0.028}
    """
    sure = jnp.clip(heat.astype(jnp.float32).max((1, 2))[:, :BACKGROUND], 0, 1)
    owned = part_channels()[:, AFFINITY_CHANNELS:][:, :BACKGROUND]
    return {part: sure[:, joints].mean(-1) for part, joints in zip(PARTS, owned, strict=True)}
