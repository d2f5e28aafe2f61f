"""Pose error relative to predicting nothing."""

from typing import Any

import jax
import numpy as np

from fgsam_jax import objective
from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.data import Table
from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.inference import forward


def evaluate_pose(
    info: CheckpointInfo, variables: dict[str, Any], table: Table
) -> dict[str, float]:
    """Masked error of the last stage relative to that of predicting nothing.

    Args:
      info: of the pose phase.
      variables: of its model.
      table: images with joints.

    Returns:
      "heat" and "affinity", 1 where nothing was learned or nothing is known.
    """
    model, sigma = info.model(), info.config.pose_data.sigma

    @jax.jit
    def errors(variables: dict[str, Any], batch: dict[str, Any]) -> dict[str, jax.Array]:
        terms = objective.pose(forward(model, variables, batch["image"]), batch, sigma=sigma)
        return {**terms.losses, **terms.metrics}

    if table.joints is None or table.mask is None:
        raise InputError("the pose net can only be judged on images with joints")
    sums: dict[str, float] = {}
    size = info.config.evaluation_batch
    for begin in range(0, len(table), size):
        rows = slice(begin, begin + size)
        batch = {
            "image": np.asarray(table.images[rows]),
            "joints": np.asarray(table.joints[rows]),
            "mask": np.asarray(table.mask[rows]),
        }
        for name, value in errors(variables, batch).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch["image"])
    # A source that knows no limb whole, say, leaves no error to compare with.
    return {
        name: sums[f"{name}_3"] / sums[f"{name}_zero"] if sums[f"{name}_zero"] else 1.0
        for name in ("heat", "affinity")
    }
