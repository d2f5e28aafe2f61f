"""The backbone that a run has trained, to be taken elsewhere."""

from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from fgsam_jax.build import restore
from fgsam_jax.convert.names import BACKBONE
from fgsam_jax.convert.weights import Weights
from fgsam_jax.errors import InputError


def backbone(workdir: Path, phase: str | None, which: str) -> tuple[Weights, str]:
    """The backbone of a checkpoint, and a line that says which.

    Args:
      workdir: of a run.
      phase: its name; None takes the last re-identification phase that has a checkpoint.
      which: "newest" or "best".

    Raises:
      InputError: there is no checkpoint, or its model has no backbone.
    """
    about, variables, step = restore(workdir, phase, which)
    values = {
        (path[0], *path[2:]): np.asarray(value)
        for path, value in flatten_dict(variables).items()
        if path[1] == BACKBONE
    }
    if not values:
        raise InputError(
            f"{workdir}: the phase {about.phase} has no backbone; name another --phase"
        )
    weights = Weights(BACKBONE, about.config.model.backbone, values)
    return weights, f"the checkpoint of step {step} of {about.phase} in {workdir}"
