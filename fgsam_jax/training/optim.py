"""The learning rate of a phase."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from fgsam_jax.config import Phase


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
