"""Trained and converted weights under the names of PyTorch's models."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from fgsam_jax.errors import InputError
from fgsam_jax.models import resnet
from fgsam_jax.weights import names
from fgsam_jax.weights.names import BACKBONE
from fgsam_jax.weights.storage import Weights

# What a baseline has between its backbone's map and its descriptor, under the names that
# reid-strong-baseline and cnnimageretrieval gave them.
_HEAD = {
    ("params", "pooling", "exponent"): "pool.p",
    ("batch_stats", "neck", "mean"): "bottleneck.running_mean",
    ("batch_stats", "neck", "var"): "bottleneck.running_var",
}


class Trained(NamedTuple):
    """The backbone of a checkpoint and what else its descriptors need.

    Attributes:
      weights: of the backbone, averaged where training averages: those that evaluations use.
      head: of a baseline "pool.p" [1], the exponent of generalised mean pooling, and
        "bottleneck.running_mean" and "bottleneck.running_var" [channels], as far as its descriptor
        needs them.
      about: "height" and "width" of its images, "last_stride", "mirror" and "phase", as strings.
      title: which checkpoint it is, for people.
    """

    weights: Weights
    head: dict[str, np.ndarray]
    about: dict[str, str]
    title: str


def trained_backbone(workdir: Path, phase: str | None, which: str) -> Trained:
    """The backbone of a checkpoint.

    Args:
      workdir: of a run.
      phase: its name; None takes the last re-identification phase that has a checkpoint.
      which: "last" or "best".

    Raises:
      InputError: there is no checkpoint, or its model has no backbone.
    """
    from fgsam_jax.checkpoint import restore  # Orbax, which a converted file does not need

    info, variables, step = restore(workdir, phase, which)
    config, leaves = info.config, flatten_dict(variables)
    values = {
        (path[0], *path[2:]): np.asarray(value)
        for path, value in leaves.items()
        if path[1] == BACKBONE
    }
    if not values:
        raise InputError(f"{workdir}: the phase {info.phase} has no backbone; name another --phase")
    head = {name: np.asarray(leaves[path]) for path, name in _HEAD.items() if path in leaves}
    if config.model.search_vector == "before":
        head = {name: value for name, value in head.items() if name == "pool.p"}
    about = {
        "phase": info.phase,
        "height": str(config.data.height),
        "width": str(config.data.width),
        "last_stride": str(config.model.last_stride),
        "mirror": str(config.mirror).lower(),
    }
    title = f"the checkpoint of step {step} of {info.phase} in {workdir}"
    return Trained(Weights(BACKBONE, config.model.backbone, values), head, about, title)


def export_weights(weights: Weights) -> dict[str, np.ndarray]:
    """The same weights under the names and in the layout of PyTorch's form.

    torchvision's names for a ResNet or MobileNetV2, torchreid's for an OSNet, the wheels' for an
    EfficientNet, OpenPose's for the pose net.
    """
    rule = names.torch_name(weights.variant)
    return {
        rule(path): value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        for path, value in weights.values.items()
    }


def not_torchvision(variant: str) -> list[str]:
    """What a user of torchvision's names must know about a ResNet of another form, if anything."""
    if variant not in resnet.VARIANTS:
        return []
    _, form = resnet.VARIANTS[variant]
    notes = {
        "blue, green, red in 0..255 minus the mean": form.caffe,
        "the stride on the first 1x1 convolution": form.caffe,
        "a pooling that rounds up and pads at the end alone": form.ceil,
        "IBN-a's normalisation": form.ibn,
        "no ReLU before the pooling": not form.stem_relu,
    }
    found = [note for note, holds in notes.items() if holds]
    return [f"not torchvision's: {'; '.join(found)}"] if found else []
