"""Images to descriptors: the latency of one and the throughput of a full batch."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.common import (
    PEOPLE,
    Row,
    configuration,
    in_turn,
    model_of,
    random_batch,
    random_variables,
    torch_or_none,
)
from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.config import Config, Phase
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.inference import BatchedEmbedding


def embedding(options: argparse.Namespace) -> Iterator[Row]:
    """FGSAM of the small Market configuration, and the published baseline.

    An array in, descriptors out, float32. "1 of 128" fills one image up to the configured batch,
    as if there were no smaller ones. Rivals have the same sizes and the same number of
    parameters; onnxruntime runs what PyTorch exports. With --quick a ResNet-18 stands for the
    ResNet-50 and batches hold 16 images.
    """
    small, published = configuration("market_small"), configuration("market")
    if options.quick:
        small.evaluation_batch = published.evaluation_batch = 16
        published.model.backbone = "resnet18"
    for config, phase in ((small, small.phases[-1]), (published, published.phases[1])):
        yield from _case(config, phase, options)


def _case(config: Config, phase: Phase, options: argparse.Namespace) -> Iterator[Row]:
    """One model: a single image, then a full batch, each with its rivals in turn."""
    full = config.evaluation_batch
    images = random_batch(full, config.data.height, config.data.width)["image"]
    model = model_of(config, phase)
    variables = random_variables(model, config.data.height, config.data.width)
    embedder = Embedder(CheckpointInfo(config, phase.name, PEOPLE, MARKET1501), variables)
    filled = BatchedEmbedding(model, variables, full)
    rivals = _rivals(config, phase, variables)
    name = f"{phase.name} {config.model.backbone}"
    alone: dict[str, Callable] = {f"{name}, 1 image": partial(embedder.embed, images[:1])}
    alone[f"{name}, 1 of {full}"] = partial(filled, images[:1])
    together: dict[str, Callable] = {f"{name}, {full} images": partial(embedder.embed, images)}
    for count, runs, rounds in ((1, alone, 9), (full, together, 5)):
        ours = next(iter(runs))
        runs |= {f"{ours}, {rival}": run for rival, run in rivals(images[:count]).items()}
        for row in in_turn("embedding", runs, 3 if options.quick else rounds):
            yield row | {"images_per_s": count / row["median"]}


def _rivals(config: Config, phase: Phase, variables: dict[str, Any]) -> Callable:
    """Images to the rivals that embed them, none without PyTorch."""
    if not torch_or_none():
        return lambda images: {}
    from benchmarks import torch_embedding

    net = torch_embedding.describer(config, phase)
    ours = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(variables["params"]))
    theirs = sum(parameter.numel() for parameter in net.parameters())
    if ours != theirs:
        raise AssertionError(f"PyTorch's {phase.name} has {theirs} parameters and ours {ours}")
    return partial(torch_embedding.rivals, net)
