"""What an exported file computes, and what it says of itself."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.checkpoint import CheckpointInfo, restore
from fgsam_jax.models.outputs import descriptor
from fgsam_jax.retrieval.inference import averaged_outputs, forward
from fgsam_jax.version import versions


@dataclasses.dataclass(frozen=True)
class Trained:
    """The model of a checkpoint, as it is exported: in float32.

    Attributes:
      info: what the checkpoint says of itself.
      variables: of its model.
      step: of the checkpoint.
    """

    info: CheckpointInfo
    variables: dict[str, Any]
    step: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that it was trained on, in pixels."""
        data, pose = self.info.config.data, self.info.config.pose_data
        if self.info.kind == "pose":
            return pose.height or data.height, pose.width or data.width
        return data.height, data.width

    def outputs(self, *, roll: bool = False) -> Callable[[jax.Array], dict[str, Any]]:
        """A function of uint8 images [batch, height, width, 3] that gives, by name, in float32.

        Of a re-identification model "descriptor" and "plenary" [batch, dim] of length 1,
        "part_NAME" [batch, dim] of length 1 for every branch, "attribute_NAME" [batch, classes]
        the probabilities of the classes. Of a pose net "heat" [batch, height / 8, width / 8, 19]
        and "affinity" [batch, height / 8, width / 8, 38].

        Args:
          roll: pool by the method "roll" of `compact_bilinear`, not the model's: products and
            gathers alone, no complex numbers.
        """
        sizes = dataclasses.replace(self.info.config.model, dtype="float32")
        if roll:
            sizes = dataclasses.replace(sizes, bilinear="roll")
        config = dataclasses.replace(self.info.config, model=sizes)
        model = dataclasses.replace(self.info, config=config).model()

        def pose(images: jax.Array) -> dict[str, jax.Array]:
            found = forward(model, self.variables, images).pose
            assert found is not None
            return {"heat": found.heat[-1], "affinity": found.affinity[-1]}

        def recognition(images: jax.Array) -> dict[str, jax.Array]:
            outputs = averaged_outputs(self.variables, images, model=model, mirror=config.mirror)
            embeddings, logits = outputs.embeddings, outputs.attributes
            alone = {name: descriptor({name: x}) for name, x in embeddings.items()}
            return {
                "descriptor": descriptor(embeddings),
                "plenary": alone["plenary"],
                **{f"part_{name}": x for name, x in alone.items()},
                **{f"attribute_{name}": jax.nn.softmax(x) for name, x in logits.items()},
            }

        return pose if self.info.kind == "pose" else recognition

    def about(self) -> dict[str, Any]:
        """What the file says of itself, as plain values for JSON."""
        config = json.dumps(self.info.to_dict()["config"], sort_keys=True)
        height, width = self.size
        return {
            "made_by": "fgsam_jax",
            "versions": versions(),
            "phase": self.info.phase,
            "model": self.info.kind,
            "backbone": self.info.config.model.backbone,
            "step": self.step,
            "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
            "height": height,
            "width": width,
            "mirror": self.info.config.mirror,
            "attributes": {x.name: list(x.classes) for x in self.info.attributes},
        }


def trained(workdir: str | Path, phase: str | None = None, which: str = "last") -> Trained:
    """The model of a run to export.

    Args:
      workdir: of the run.
      phase: its name; None takes the last re-identification phase that has a checkpoint.
      which: "last" or "best".

    Raises:
      InputError: there is no such checkpoint.
    """
    info, variables, step = restore(Path(workdir), phase, which)
    return Trained(info, jax.tree.map(np.asarray, variables), step)


def batch_of(height: int, width: int) -> jax.ShapeDtypeStruct:
    """uint8 images [batch, height, width, 3] of any number."""
    (batch,) = jax.export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
