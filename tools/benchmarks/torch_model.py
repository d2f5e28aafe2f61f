"""The models of all phases in PyTorch, equal to ours in every size."""

import sys
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.common import PEOPLE, ROOT
from fgsam_jax.config import Model
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.labels.skeleton import PARTS, part_channels
from fgsam_jax.models import efficientnet, mobilenet, osnet

if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
from torch_models import (
    DEPTHS,
    Block,
    EfficientNetLite,
    MobileNetV2,
    OSNet,
    conv_without_bias,
    imagenet_input,
    openpose_input,
)


class ImageNetInput(nn.Module):
    def forward(self, images: Any) -> Any:
        return imagenet_input(images, torch.float32)


def backbone(sizes: Model) -> tuple[nn.Module, int]:
    """Images to a map, the published net or torchvision's ResNet of any width; its channels."""
    if sizes.backbone in osnet.VARIANTS:
        channels = osnet.VARIANTS[sizes.backbone]
        return OSNet(channels), channels[-1]
    if sizes.backbone in efficientnet.VARIANTS:
        return EfficientNetLite(int(sizes.backbone[-1]), sizes.last_stride), 1280
    if sizes.backbone in mobilenet.VARIANTS:
        return MobileNetV2(last_stride=sizes.last_stride), 1280
    kind, counts = DEPTHS[int(sizes.backbone.removeprefix("resnet"))]
    inputs = sizes.width
    layers: list[nn.Module] = [ImageNetInput(), conv_without_bias(3, inputs, 7, 2)]
    layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    for stage, count in enumerate(counts):
        w = sizes.width * 2**stage
        for index in range(count):
            stride = (1, 2, 2, sizes.last_stride)[stage] if index == 0 else 1
            shape: Any = ((3, 3), (w, w), (stride, 1))
            if kind == "bottleneck":
                shape = ((1, 3, 1), (w, w, 4 * w), (1, stride, 1))
            layers.append(Block(inputs, *shape, False))
            inputs = shape[1][-1]
    return nn.Sequential(*layers), inputs


class ParseBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 16, 16)
        self.squeeze, self.excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Any) -> Any:
        weights = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * (2 * torch.sigmoid(weights))


class Pose(nn.Module):
    """OpenPose's first three stages with channel parse blocks."""

    def __init__(self, sizes: Model):
        super().__init__()

        def convolutions(before: int, *layers: tuple[int, int]) -> nn.Sequential:
            made: list[nn.Module] = []
            for channels, size in layers:
                after = max(int(channels * sizes.pose_width), 8)
                made += [nn.Conv2d(before, after, size, padding=size // 2), nn.ReLU()]
                before = after
            return nn.Sequential(*made)

        def stage(inputs: int, layers: list[tuple[int, int]]) -> nn.ModuleList:
            last = max(int(layers[-1][0] * sizes.pose_width), 8)
            return nn.ModuleList(
                nn.Sequential(convolutions(inputs, *layers), nn.Conv2d(last, maps, 1))
                for maps in (38, 19)
            )

        groups: list[nn.Module] = []
        before = 3
        for number, group in enumerate(
            ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 256, 128))
        ):
            groups += [nn.MaxPool2d(2)] if number else []
            groups.append(convolutions(before, *((channels, 3) for channels in group)))
            before = max(int(group[-1] * sizes.pose_width), 8)
        self.trunk = nn.Sequential(*groups)
        later = [(128, sizes.pose_kernel)] * 5 + [(128, 1)]
        first = [(128, 3), (128, 3), (128, 3), (512, 1)]
        self.stages = nn.ModuleList([stage(before, first)])
        self.stages.extend(stage(before + 57, later) for _ in range(2))
        self.parse = nn.ModuleList([ParseBlock(n) for n in (before + 57, before + 57, 57)])

    def forward(self, images: Any) -> tuple[list[Any], Any]:
        """The maps of each stage, and the last ones weighed."""
        features = self.trunk(openpose_input(images, torch.float32))
        x, maps = features, []
        for number, stage in enumerate(self.stages):
            maps.append(torch.cat([stream(x) for stream in stage], 1))
            x = maps[-1] if number == 2 else torch.cat([maps[-1], features], 1)
            x = self.parse[number](x)
        return maps, x


class Net(nn.Module):
    """The model of a phase."""

    def __init__(self, sizes: Model, kind: str):
        super().__init__()
        self.kind, self.size = kind, sizes.sketch
        if kind != "baseline":
            self.pose = Pose(sizes)
        if kind == "pose":
            return
        self.backbone, channels = backbone(sizes)
        if kind == "baseline":
            self.pooling, neck = sizes.pooling, sizes.baseline_neck
            if self.pooling == "gem":
                self.exponent = nn.Parameter(torch.full((1,), 3.0))
            self.neck = nn.BatchNorm1d(channels, affine=False) if neck else nn.Identity()
            self.identity = nn.Linear(channels, PEOPLE, bias=not neck)
            return
        random = np.random.default_rng(0)
        for name, count in (("x", channels), ("y", 57)):
            setattr(self, f"bins_{name}", torch.from_numpy(random.integers(0, self.size, count)))
            setattr(self, f"signs_{name}", torch.from_numpy(random.choice([-1.0, 1.0], count)))
        self.norms = nn.ModuleList([nn.BatchNorm2d(n, affine=False) for n in (channels, 57)])
        branches = PARTS if kind == "fgsam" else ("plenary",)
        widths = {p: sizes.plenary_size if p == "plenary" else sizes.part_size for p in branches}
        self.embed = nn.ModuleDict(
            {
                part: nn.Sequential(
                    nn.Linear(self.size, width, bias=False), nn.BatchNorm1d(width, affine=False)
                )
                for part, width in widths.items()
            }
        )
        self.at = {a.name: a.part if kind == "fgsam" else "plenary" for a in MARKET1501}
        self.heads = nn.ModuleDict(
            {a.name: nn.Linear(widths[self.at[a.name]], len(a.classes)) for a in MARKET1501}
        )
        self.identity = nn.Linear(sizes.plenary_size, PEOPLE)
        rows = [PARTS.index(part) for part in branches]
        self.parts = torch.from_numpy(part_channels()[rows].astype(np.float32))

    def forward(self, images: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """Embeddings, identity logits and attribute logits."""
        x = self.backbone(images)
        if self.kind == "baseline":
            if self.pooling == "gem":
                powers = x.clamp(min=1e-6).pow(self.exponent)
                pooled = powers.mean((2, 3)).pow(1 / self.exponent)
            else:
                pooled = x.mean((2, 3))
            return {"plenary": pooled}, self.identity(self.neck(pooled)), {}
        y = self.pose(images)[1]
        y = functional.avg_pool2d(y, y.shape[2] // x.shape[2])
        fused = self.fuse(self.norms[0](x).flatten(2).float(), self.norms[1](y).flatten(2).float())
        embeddings = {
            part: embed(fused[:, i]) for i, (part, embed) in enumerate(self.embed.items())
        }
        logits = {name: head(embeddings[self.at[name]]) for name, head in self.heads.items()}
        return embeddings, self.identity(embeddings["plenary"]), logits

    def fuse(self, x: Any, y: Any) -> Any:
        """Compact bilinear pooling, signed square root, root mean square 1."""
        fused = self.pool(x, y)
        fused = torch.sign(fused) * (torch.sqrt(fused.abs() + 1e-3) - 1e-3**0.5)
        return functional.normalize(fused, dim=2) * self.size**0.5

    def pool(self, x: Any, y: Any) -> Any:
        """Compact bilinear pooling in the cheap order."""
        rows = torch.bmm(y, x.mT) / x.shape[2] * self.signs_x.float()
        rows = rows.new_zeros(*rows.shape[:2], self.size).index_add(2, self.bins_x, rows)
        turns = torch.zeros(57, self.size)
        turns[torch.arange(57), self.bins_y] = self.signs_y.float()
        products = torch.fft.rfft(rows) * torch.fft.rfft(turns)
        products = torch.einsum("pj,bjf->bpf", self.parts.to(products.dtype), products)
        return torch.fft.irfft(products, n=self.size)


def hardest_triplets(x: Any, labels: Any) -> tuple[Any, Any]:
    """Distances of each row of length 1 to its hardest positive and negative."""
    x = functional.normalize(x.float(), dim=1)
    squared = (x[:, None] - x[None]).square().sum(2)
    distances = torch.where(squared > 0, squared.clamp(min=1e-12).sqrt(), 0)
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(x), dtype=torch.bool)
    d_ap = distances.masked_fill(~same | itself, 0).amax(1)
    return d_ap, distances.masked_fill(same, torch.inf).amin(1)


def focal_triplet(x: Any, labels: Any) -> Any:
    """The mean over anchors of Eq. (10) with the hardest positive and negative."""
    d_ap, d_an = hardest_triplets(x, labels)
    weight = (d_ap - d_an + 1).clamp(min=1) ** 2
    return (weight * torch.relu(d_ap - d_an + 0.5) + torch.relu(d_ap - 0.01)).mean()
