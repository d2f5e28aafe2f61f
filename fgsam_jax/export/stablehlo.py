"""A trained model in StableHLO, as JAX serialises it."""

import dataclasses
import json

import jax

from fgsam_jax.export.trained import Trained, batch_of
from fgsam_jax.settings import own_settings

PLATFORMS = ("cpu", "cuda", "tpu")


@own_settings()
def to_stablehlo(model: Trained) -> bytes:
    """A model for all of `PLATFORMS`, with an open number of images.

    `jax.export.deserialize(file).call(images)` gives what `Trained.outputs` says, by name; it needs
    JAX alone, and a version of it that is not much older. The `fun_name` of what is read is
    `Trained.about` in JSON.
    """
    made = jax.export.export(jax.jit(model.outputs()), platforms=PLATFORMS)(batch_of(*model.size))
    about = json.dumps(model.about())
    return bytes(dataclasses.replace(made, fun_name=about).serialize())
