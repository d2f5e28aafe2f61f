"""The train step of `torch_model`: forward, backward and Adam, on a batch that stays in place."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch.nn import functional

from benchmarks.common import SIGMA
from benchmarks.torch_model import Net, focal_triplet
from fgsam_jax.config import Config, Phase
from fgsam_jax.labels.pose_targets import pose_targets


def make_step(config: Config, phase: Phase, batch: dict[str, Any]) -> tuple[Callable, int]:
    """The step and the number of parameters.

    Args:
      config: sizes; "bfloat16" computes under autocast.
      phase: which model, and whether it has the triplet loss; of the pose net the same parameters
        are trained as in ours with "cpb_only".
      batch: as ours takes it.
    """
    torch.manual_seed(0)
    net = Net(config.model, phase.model).to(memory_format=torch.channels_last).train()
    for name, parameter in net.named_parameters():
        parsed = "pose.parse" in name
        frozen = parsed if phase.model == "pose" else name.startswith("pose.") and not parsed
        parameter.requires_grad_(not frozen)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, phase.learning_rate, fused=True)
    images = torch.from_numpy(batch["image"])
    labels = torch.from_numpy(batch["label"].astype(np.int64))
    attributes = {
        name: torch.from_numpy(x.astype(np.int64)) for name, x in batch["attributes"].items()
    }
    targets = _pose_targets(batch) if phase.model == "pose" else None

    def loss() -> Any:
        if targets is not None:
            return sum((maps - targets).square().sum() / 2 for maps in net.pose(images)[0])
        embeddings, identity, logits = net(images)
        total = functional.cross_entropy(identity.float(), labels)
        for name, answer in logits.items():
            total = total + functional.cross_entropy(answer.float(), attributes[name])
        if phase.triplet == "focal":
            total = total + sum(focal_triplet(x, labels) for x in embeddings.values())
        return total

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.model.dtype == "bfloat16"):
            value = loss()
        value.backward()
        optimizer.step()
        return float(value.detach())

    return step, sum(parameter.numel() for parameter in net.parameters())


def _pose_targets(batch: dict[str, Any]) -> Any:
    """Affinity and heat as PyTorch has them; drawn once, where our step draws them each time."""
    height, width = batch["image"].shape[1:3]
    heat, affinity, *_ = jax.device_get(pose_targets(batch["joints"], height, width, sigma=SIGMA))
    return torch.from_numpy(np.concatenate([affinity, heat], -1)).permute(0, 3, 1, 2)
