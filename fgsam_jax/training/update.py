"""What a step of a phase computes: the model, the objective, the optimiser and how."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import optax

from fgsam_jax import objective
from fgsam_jax.config import Config, Phase, taught_attributes
from fgsam_jax.models.outputs import Outputs
from fgsam_jax.objective import Terms
from fgsam_jax.runtime.distributed import AXIS
from fgsam_jax.training.state import Tree


@dataclass(frozen=True)
class Update:
    """What an update computes.

    Attributes:
      model: gives `Outputs`; its batch statistics and mining use the axis of the devices.
      objective: outputs and batch to terms.
      optimizer: made for the state's `params`.
      flip, pad, erase: augmentations, see `augment`.
      ema: decay of the average of parameters and statistics, see `Optimization`; 0 for none.
      freeze_backbone: use the backbone as it is, with its running statistics, without a gradient.
      accumulate: micro-batches of gradient accumulation, see `accumulated_gradients`.
      remat: rematerialise activations: less memory, more compute. The results of products and
        convolutions are kept.
      dtype: of the model's computation; `train_steps` casts frozen parameters to it once a call.
    """

    model: nn.Module
    objective: Callable[[Outputs, Tree], Terms]
    optimizer: optax.GradientTransformation
    flip: bool = True
    pad: int = 0
    erase: float = 0.0
    ema: float = 0.0
    freeze_backbone: bool = False
    accumulate: int = 1
    remat: bool = False
    dtype: str = "float32"


def make_update(
    config: Config,
    phase: Phase,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    freeze_backbone: bool = False,
) -> Update:
    """What each step of a phase computes on all devices."""
    terms = functools.partial(
        objective.recognition,
        triplet=phase.triplet,
        margin=config.loss.margin,
        bound=config.loss.bound,
        gamma=config.loss.gamma,
        mining=config.loss.mining,
        smoothing=config.loss.label_smoothing,
        attribute_smoothing=config.loss.attribute_smoothing,
        weights=objective.Weights(
            config.loss.identity_weight,
            config.loss.attribute_weight,
            config.loss.triplet_weight,
        ),
        taught=taught_attributes(config.loss),
        axis_name=AXIS,
    )
    if phase.model == "pose":
        terms = functools.partial(objective.pose, sigma=config.pose_data.sigma)
    return Update(
        model,
        terms,
        optimizer,
        flip=phase.flip,
        pad=phase.augmentation.pad,
        erase=phase.augmentation.erase,
        ema=phase.optimization.ema,
        freeze_backbone=freeze_backbone,
        accumulate=phase.accumulate,
        remat=config.compute.remat,
        dtype=config.model.dtype,
    )
