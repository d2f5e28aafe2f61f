"""The optimiser of a phase and its learning rate; others may stand beside them here."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from fgsam_jax.config import Phase


def make_optimizer(phase: Phase, per_epoch: int) -> optax.GradientTransformation:
    """Adam with the learning rate of `schedule`.

    Args:
      phase: its learning rate.
      per_epoch: steps of an epoch.
    """
    return optax.adam(schedule(phase, per_epoch))


def schedule(phase: Phase, per_epoch: int) -> Callable[[Any], Any]:
    """Learning rate by step: a linear warm-up, then halved every `halve_every` epochs.

    A step of Python gives a number of Python, without a call of the device.
    """

    def rate(step: Any) -> Any:
        halvings = step // (phase.halve_every * per_epoch)
        warm = (np if isinstance(step, int) else jnp).minimum(
            (step + 1) / max(phase.warmup_epochs * per_epoch, 1), 1
        )
        return phase.learning_rate * warm * 0.5**halvings

    return rate
