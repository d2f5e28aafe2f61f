"""The optimiser of a phase and its learning rate; others may stand beside them here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fgsam_jax.config import Phase


def make_optimizer(phase: Phase, per_epoch: int) -> optax.GradientTransformation:
    """Adam with the learning rate of `schedule`, and what `phase.optimization` adds to it.

    Decay is decoupled from the gradient (Loshchilov and Hutter, "Decoupled Weight Decay
    Regularization", 2019).

    Args:
      phase: its learning rate.
      per_epoch: steps of an epoch.
    """
    how, adam = phase.optimization, [optax.scale_by_adam()]
    if how.weight_decay:
        adam.append(optax.add_decayed_weights(how.weight_decay, _kernels))
    frozen = frozen_steps(phase, per_epoch)
    if how.backbone_rate != 1 or frozen:
        backbone = optax.chain(*adam, optax.scale(how.backbone_rate))
        if frozen:  # its moments and their count begin when it is trained
            backbone = optax.conditionally_mask(backbone, lambda step: step >= frozen)
        adam = [optax.partition({"backbone": backbone, "other": optax.chain(*adam)}, _networks)]
    if how.clip:
        adam.insert(0, optax.clip_by_global_norm(how.clip))
    return optax.chain(*adam, optax.scale_by_learning_rate(schedule(phase, per_epoch)))


def frozen_steps(phase: Phase, per_epoch: int) -> int:
    """For how many steps the backbone stays as it is; the pose phase has none."""
    return 0 if phase.model == "pose" else phase.optimization.frozen_epochs * per_epoch


def schedule(phase: Phase, per_epoch: int) -> Callable[[Any], Any]:
    """Learning rate by step: a linear warm-up, times what `optimization.schedule` says.

    A step of Python gives a number of Python, without a call of the device.
    """
    how, last = phase.optimization, phase.epochs * per_epoch

    def factor(step: Any, numpy: Any) -> Any:
        if how.schedule == "step":
            return 0.1 ** sum(step >= epoch * per_epoch for epoch in how.drop_epochs)
        if how.schedule == "cosine":
            done = numpy.clip((step / last - how.flat) / (1 - how.flat), 0, 1)
            return 0.5 * (1 + numpy.cos(np.pi * done))
        return 0.5 ** (step // (phase.halve_every * per_epoch))

    def rate(step: Any) -> Any:
        numpy = np if isinstance(step, int) else jnp
        share = factor(step, numpy)
        warm = numpy.minimum((step + 1) / max(phase.warmup_epochs * per_epoch, 1), 1)
        return phase.learning_rate * warm * share

    return rate


def _kernels(params: Any) -> Any:
    """Which parameters decay: kernels, also the depthwise ones, which OSNet names otherwise."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: path[-1].key == "kernel" or x.ndim == 4, params
    )


def _networks(params: Any) -> Any:
    """Of each parameter, whether it is of the backbone."""

    def network(path: Any, _: Any) -> str:
        return "backbone" if path[0].key == "backbone" else "other"

    return jax.tree_util.tree_map_with_path(network, params)
