"""The training step of a baseline with the whole recipe in PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch.nn import functional

from benchmarks.torch_model import Net, hardest_triplets
from fgsam_jax.config import Config, Phase
from fgsam_jax.data.augment import MEAN_COLOUR
from fgsam_jax.training.optim import schedule
from fgsam_jax.weights.names import torch_name


def baseline(config: Config, variables: dict[str, Any]) -> Net:
    """The baseline with the weights and statistics of ours."""
    net, leaves = Net(config.model, "baseline"), flatten_dict(variables)
    rule, state = torch_name(config.model.backbone), net.state_dict()
    others = {
        "identity.weight": ("params", "pooled_identity", "kernel"),
        "exponent": ("params", "pooling", "exponent"),
        "neck.running_mean": ("batch_stats", "neck", "mean"),
        "neck.running_var": ("batch_stats", "neck", "var"),
    }
    for path, value in leaves.items():
        if path[1] == "backbone":
            value = np.transpose(value, (3, 2, 0, 1)) if np.ndim(value) == 4 else value
            others["backbone." + rule((path[0], *path[2:]))] = path
            leaves[path] = value
    for name, path in others.items():
        value = leaves[path].T if name == "identity.weight" else leaves[path]
        state[name].copy_(torch.from_numpy(np.array(value)))
    return net


def augmented(images: Any, pad: int, erase: float) -> Any:
    """Mirrored, shifted and erased as `fgsam_jax.data.augment` does it, uint8 to the same."""
    size, height, width, _ = images.shape
    mirrored = torch.rand(size, 1, 1, 1) < 0.5
    images = torch.where(mirrored, images.flip(2), images)
    colour = torch.from_numpy(MEAN_COLOUR)
    around = colour.repeat(size, height + 2 * pad, width + 2 * pad, 1)
    around[:, pad : pad + height, pad : pad + width] = images
    corners = torch.randint(2 * pad + 1, (size, 2)).tolist()
    images = torch.stack(
        [x[i : i + height, j : j + width] for x, (i, j) in zip(around, corners, strict=True)]
    )
    for index in torch.nonzero(torch.rand(size) < erase).flatten().tolist():
        for area, aspect, top, left in torch.rand(10, 4).tolist():
            pixels = height * width * (0.02 + 0.38 * area)
            aspect = 0.3 + (1 / 0.3 - 0.3) * aspect
            tall, wide = round((pixels * aspect) ** 0.5), round((pixels / aspect) ** 0.5)
            if tall < height and wide < width:
                i, j = int(top * (height - tall + 1)), int(left * (width - wide + 1))
                images[index, i : i + tall, j : j + wide] = colour
                break
    return images


def objective(config: Config, net: Net, images: Any, labels: Any) -> Any:
    """The sum of the identity and the plain triplet term."""
    embeddings, logits, _ = net(images)
    smoothing = config.loss.label_smoothing
    d_ap, d_an = hardest_triplets(embeddings["plenary"], labels)
    triplet = torch.relu(d_ap - d_an + config.loss.margin).mean()
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing) + triplet


def make_step(
    config: Config, phase: Phase, net: Net, batch: dict[str, Any], per_epoch: int
) -> Callable[[], float]:
    """The step: augmentation, both passes, clipping, AdamW and the moving average."""
    torch.manual_seed(0)
    how, rate = phase.optimization, schedule(phase, per_epoch)
    net = net.to(memory_format=torch.channels_last).train()
    kernels = [x for x in net.parameters() if x.dim() > 1]
    rest = [x for x in net.parameters() if x.dim() <= 1]
    groups = [
        {"params": kernels, "weight_decay": how.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, phase.learning_rate, fused=True)
    now = [x.detach() for x in net.state_dict().values() if x.is_floating_point()]
    average = [x.clone() for x in now]
    images = torch.from_numpy(batch["image"])
    labels = torch.from_numpy(batch["label"].astype(np.int64))
    taken = [0]

    def step() -> float:
        for group in optimizer.param_groups:
            group["lr"] = float(rate(taken[0]))
        taken[0] += 1
        seen = augmented(images, phase.augmentation.pad, phase.augmentation.erase)
        optimizer.zero_grad(set_to_none=True)
        value = objective(config, net, seen, labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), how.clip)
        optimizer.step()
        kept = min(how.ema, (1 + taken[0]) / (10 + taken[0]))
        torch._foreach_lerp_(average, now, 1 - kept)
        return float(value.detach())

    return step
