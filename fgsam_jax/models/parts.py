"""The embeddings of body parts, those of one size made together."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.models.dense import Dense, Weights, dense
from fgsam_jax.models.norm import Statistics, batch_norm


class PartEmbedding(nn.Module):
    """A part's embedding: on one fused vector the paper's 1x1 convolution is a dense layer.

    Attributes:
      size: of the embedding.
      bnneck: normalise each coordinate over the batch, without scale or bias. The fused vectors
        of all people share a large common component; on unit-length embeddings it presses all
        distances together, and the focal triplet loss then shrinks both d_ap and d_an.
    """

    size: int
    bnneck: bool = True

    @nn.compact
    def __call__(self, channels: int) -> tuple[Weights, Any]:
        """Weights of the dense layer and, where it normalises, the running statistics."""
        weights = Dense(self.size, not self.bnneck, name="dense")(channels)
        return weights, Statistics(name="norm")(self.size) if self.bnneck else None


def embed_parts(
    fused: jax.Array, parts: Sequence[PartEmbedding], *, train: bool, axis_name: str | None
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The embeddings of parts of one size, in one computation.

    Args:
      fused: [batch, parts, channels].
      parts: which.
      train: use and update batch statistics.
      axis_name: take them over all devices of this axis.

    Returns:
      Of each part, [batch, size], before the normalisation and after it.
    """
    weights, running = zip(*(part(fused.shape[-1]) for part in parts), strict=True)
    embeddings = dense(jnp.swapaxes(fused, 0, 1), weights)
    if not parts[0].bnneck:
        return embeddings, embeddings
    kinds = list(zip(*running, strict=True))  # all means, all variances
    mean, var = (jnp.concatenate([x.value for x in variables]) for variables in kinds)
    joined, after = batch_norm(
        jnp.concatenate(embeddings, axis=-1),
        (mean, var),
        train=train,
        two_pass=True,
        axis_name=axis_name,
    )
    for variables, values in zip(kinds, after, strict=True) if train else ():
        for variable, value in zip(variables, jnp.split(values, len(parts)), strict=True):
            variable.value = value
    return embeddings, jnp.split(joined, len(parts), axis=-1)
