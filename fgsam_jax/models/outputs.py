"""What every model gives, and the descriptor that searches compare."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.models.norm import unit_length
from fgsam_jax.models.pose_net import Pose

PLENARY = PARTS[-1]  # the whole body


class Outputs(NamedTuple):
    """What a model gives; a field that a model lacks is empty.

    Attributes:
      embeddings: by branch, [batch, dim] float32, not normalised.
      identity: [batch, identities] logits.
      attributes: by name, [batch, classes] logits.
      pose: of the pose resolve net.
      triplet: what the triplet loss compares, by branch; None: the embeddings.
      part_identity: logits by part, as `identity`; None where parts have no classifier of people.
    """

    embeddings: dict[str, jax.Array]
    identity: jax.Array | None
    attributes: dict[str, jax.Array]
    pose: Pose | None
    triplet: dict[str, jax.Array] | None = None
    part_identity: dict[str, jax.Array] | None = None


class Vectors(NamedTuple):
    """Which vectors of a normalised embedding are compared: those "before" or "after" it.

    Attributes:
      triplet: by the triplet loss.
      search: by searches; the classifiers see the one after in any case.
    """

    triplet: str = "after"
    search: str = "after"

    def outputs(
        self, before: dict[str, jax.Array], after: dict[str, jax.Array], *others: Any
    ) -> Outputs:
        """Outputs of embeddings, by branch, and of the fields that follow them."""
        by_name = {"before": before, "after": after}
        same = self.triplet == self.search
        return Outputs(by_name[self.search], *others)._replace(
            triplet=None if same else by_name[self.triplet]
        )


def descriptor(embeddings: dict[str, jax.Array]) -> jax.Array:
    """The vector that searches compare by Euclidean distance: all branches, each of length 1.

    Args:
      embeddings: by branch, [batch, dim].

    Returns:
      [batch, sum of dims] of length 1, so that distances lie in [0, 2].
    """
    branches = [unit_length(embeddings[name].astype(jnp.float32)) for name in sorted(embeddings)]
    return jnp.concatenate(branches, axis=-1) / len(branches) ** 0.5
