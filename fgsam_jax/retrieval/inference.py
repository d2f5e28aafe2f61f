"""Images to descriptors, in batches: the host reads ahead while the devices work.

At any time one batch is being computed, the one before it is on its way back to the host, and the
next two are being read and resized. `Embedder` and the evaluations share this loop, so that what is
served is what was scored.
"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import cache
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from fgsam_jax.errors import InputError
from fgsam_jax.models.outputs import Outputs, descriptor
from fgsam_jax.retrieval.description import part_visibility
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.ahead import made_ahead
from fgsam_jax.runtime.distributed import AXIS, agreed, replicate

# The step gives these for each image.
Embedded = dict[str, Any]

# Batches that are read before they are asked for; one alone would leave threads idle at its end.
_AHEAD = 2


class BatchedEmbedding:
    """`embed_step` over all rows of an array, in batches over all devices.

    A call takes one size of batch, and each size has one program, compiled when first needed. The
    size is the smallest that holds all images of the call; more than the largest holds go in
    batches of the largest, and the last of these is filled up, as compiling another program takes
    longer than the filling. Who gives one size alone, as an evaluation does, compiles once.

    With several processes each embeds a share over its own devices, and all get the whole; all
    must call it alike.

    Example:
      >>> class MeanColour(nn.Module):  # stands for the model of a checkpoint
      ...     def __call__(self, images):
      ...         return Outputs({"plenary": images.mean((1, 2))}, None, {}, None)
      >>> embed = BatchedEmbedding(MeanColour(), {}, 4)
      >>> images = np.zeros((5, 2, 1, 3), np.uint8)
      >>> embed(images, "gallery")["descriptor"].shape  # in two batches
      (5, 3)
    """

    def __init__(
        self, model: nn.Module, variables: dict[str, Any], *sizes: int, mirror: bool = False
    ):
        """Put the variables on all devices of this process.

        Args:
          model: gives `Outputs`.
          variables: of the model.
          sizes: of the batches in images, rounded up to fill all devices.
          mirror: see `embed_step`.
        """
        self._devices = jax.local_device_count()
        self._sizes = sorted({-(-size // self._devices) * self._devices for size in sizes})
        self._model, self._mirror = model, mirror
        self._step = parallel_embed_step(model, mirror)
        if jax.process_count() > 1:
            # A state that spans processes cannot be put on the devices of one, its value can.
            variables = jax.device_get(variables)
        self._variables = replicate(variables)

    def describing(self) -> "BatchedEmbedding":
        """The same model on the same variables, which says all that `embed_step` can describe."""
        other = copy(self)
        other._step = parallel_embed_step(self._model, self._mirror, True)
        return other

    def variables(self) -> dict[str, Any]:
        """Of the model, on the host."""
        return jax.device_get(self._variables)

    def __call__(self, images: Any, title: str | None = None) -> Embedded:
        """The result of `embed_step` for all images, as NumPy arrays [n, ...].

        Args:
          images: uint8 [n, height, width, 3], or what has a length and gives such rows for a
            slice, which threads may ask for.
          title: of a progress bar; without it none is shown.

        Raises:
          InputError: there are no images, or reading them raises it.
        """
        if not len(images):
            raise InputError("there are no images to embed")
        if jax.process_count() > 1:
            return self._shared(images, title)
        return self._rows(images, 0, len(images), title)

    def _shared(self, images: Any, title: str | None) -> Embedded:
        """The result for all rows, of which this process works out one share.

        Where reading fails in one process, all of them raise InputError.
        """
        processes, count = jax.process_count(), len(images)
        # Shares are equally long, as gathering wants them: the last may begin in the one before.
        share = -(-count // processes)
        firsts = [min(process * share, count - share) for process in range(processes)]
        first = firsts[jax.process_index()]
        found = agreed(lambda: self._rows(images, first, first + share, title))

        def whole(shares: np.ndarray) -> np.ndarray:
            rows = np.empty((count, *shares.shape[2:]), shares.dtype)
            for begin, piece in zip(firsts, shares, strict=True):
                rows[begin : begin + share] = piece
            return rows

        return jax.tree.map(whole, multihost_utils.process_allgather(found))

    def _rows(self, images: Any, first: int, last: int, title: str | None) -> Embedded:
        """The result for the rows first, ..., last - 1, worked out by this process alone.

        Images and title are as for `__call__`.
        """
        size = next((size for size in self._sizes if size >= last - first), self._sizes[-1])

        def read(start: int) -> np.ndarray:
            rows = np.asarray(images[start : min(start + size, last)])
            # A batch is filled up, so that one program serves all of its size. The copy also
            # reads a memory-mapped array here and not where the device waits for it.
            filled = np.resize(rows, (size, *rows.shape[1:]))
            return filled.reshape(self._devices, -1, *rows.shape[1:])

        starts = range(first, last, size)
        bar = tqdm(
            made_ahead(read, starts, _AHEAD),
            title,
            total=len(starts),
            leave=False,
            disable=None if title and distributed.first() else True,
        )
        pieces: list[Embedded] = []
        running: list[Embedded] = []
        for batch in bar:
            # Fetching blocks: the devices have the next batch by then.
            running.append(self._step(self._variables, batch))
            if len(running) > 1:
                pieces.append(jax.device_get(running.pop(0)))
        pieces += jax.device_get(running)
        return jax.tree.map(lambda *x: _joined(x)[: last - first], *pieces)


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Pieces one after the other.

    Args:
      pieces: each [devices, rows, ...].

    Returns:
      [all rows, ...].
    """
    return np.concatenate([piece.reshape(-1, *piece.shape[2:]) for piece in pieces])


def forward(model: nn.Module, variables: dict[str, Any], images: jax.Array) -> Outputs:
    """The model's outputs as in use and not in training: with the running statistics.

    Args:
      model: gives `Outputs`.
      variables: "params", "batch_stats" and "constants" of the model.
      images: uint8 [batch, height, width, 3].

    Returns:
      Embeddings [batch, dim] and logits [batch, classes] by name, and the pose, see `Outputs`.

    Example:
      >>> outputs = forward(info.model(), variables, images)  # doctest: +SKIP
      >>> outputs.embeddings["head"].shape, outputs.attributes["hat"].shape  # doctest: +SKIP
      ((256, 256), (256, 2))
    """
    return cast(Outputs, model.apply(variables, images))


def embed_step(
    variables: dict[str, Any],
    images: jax.Array,
    *,
    model: nn.Module,
    mirror: bool = False,
    describe: bool = False,
) -> dict[str, Any]:
    """Descriptors and attribute answers of images, with the running statistics.

    Args:
      variables: of the model.
      images: uint8 [batch, height, width, 3].
      model: gives `Outputs` with a plenary branch.
      mirror: of each image and its mirror image take the mean, of embeddings before they are
        brought to length 1 and of logits.
      describe: also give what `Description` holds.

    Returns:
      "descriptor" [batch, dim] of length 1, "plenary" [batch, dim] of length 1, and
      "attributes": {name: [batch] int, the most likely class}. A row is NaN where an embedding is.
      If described also "probabilities": {name: [batch, classes]} and "visibility": {part: [batch]},
      of the images as they are, not mirrored; empty without a pose.

    Example:
      >>> class MeanColour(nn.Module):
      ...     def __call__(self, images):
      ...         return Outputs({"plenary": images.mean((1, 2))}, None, {}, None)
      >>> red = jnp.zeros((1, 4, 2, 3), jnp.uint8).at[..., 0].set(200)
      >>> print(embed_step({}, red, model=MeanColour())["descriptor"])
      [[1. 0. 0.]]
    """
    outputs = averaged_outputs(variables, images, model=model, mirror=mirror)
    embeddings, logits = outputs.embeddings, outputs.attributes
    found = {
        "descriptor": descriptor(embeddings),
        "plenary": descriptor({"plenary": embeddings["plenary"]}),
        "attributes": {name: jnp.argmax(x, -1) for name, x in logits.items()},
    }
    if describe:
        found["probabilities"] = {
            name: jax.nn.softmax(x.astype(jnp.float32)) for name, x in logits.items()
        }
        found["visibility"] = part_visibility(outputs.pose.heat[-1]) if outputs.pose else {}
    return found


def averaged_outputs(
    variables: dict[str, Any], images: jax.Array, *, model: nn.Module, mirror: bool = False
) -> Outputs:
    """What `embed_step` makes its answers from.

    Args:
      variables, images, model, mirror: see `embed_step`.

    Returns:
      The model's outputs; with `mirror` the embeddings and the logits of attributes are the means
      over image and mirrored image.

    Example:
      >>> outputs = averaged_outputs(variables, images, model=info.model())  # doctest: +SKIP
      >>> outputs.embeddings["head"].shape, outputs.attributes["hat"].shape  # doctest: +SKIP
      ((256, 256), (256, 2))
    """
    outputs = forward(model, variables, images)
    if not mirror:
        return outputs
    others = forward(model, variables, images[:, :, ::-1])
    embeddings, attributes = jax.tree.map(
        lambda a, b: (a + b) / 2,
        (outputs.embeddings, outputs.attributes),
        (others.embeddings, others.attributes),
    )
    return outputs._replace(embeddings=embeddings, attributes=attributes)


@cache
def parallel_embed_step(model: nn.Module, mirror: bool = False, describe: bool = False) -> Callable:
    """`embed_step` over devices: (variables, images [devices, batch / devices, ...]).

    The devices are this process's own. Equal models share one compiled program.

    Args:
      model: gives `Outputs` with a plenary branch.
      mirror: see `embed_step`.
      describe: see `embed_step`.

    Returns:
      A function of the variables and of uint8 [devices, batch / devices, height, width, 3] that
      gives what `embed_step` gives, with the axis of devices in front.

    Example:
      >>> step = parallel_embed_step(info.model())  # doctest: +SKIP
      >>> step(variables, images.reshape(4, 64, 256, 128, 3))["descriptor"].shape  # doctest: +SKIP
      (4, 64, 2048)
    """

    def step(variables: dict[str, Any], images: jax.Array):
        return embed_step(variables, images, model=model, mirror=mirror, describe=describe)

    return jax.pmap(step, AXIS, in_axes=(None, 0), devices=jax.local_devices())
