"""Exported models beside the model in JAX: images per second, sizes of files, differences."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import (
    PEOPLE,
    Row,
    configuration,
    in_turn,
    random_batch,
    random_variables,
    torch_or_none,
)
from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.config import Config, Phase
from fgsam_jax.export import files
from fgsam_jax.export.parity import differences
from fgsam_jax.export.trained import Trained
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.retrieval.embedder import Embedder


def exported(options: argparse.Namespace) -> Iterator[Row]:
    """FGSAM of the small Market configuration, and the published baseline, of 1 image and of 32.

    An array in, descriptors and all other outputs out, float32. "jax" is the file of StableHLO.
    Differences are to JAX: of the descriptor, and the largest of all outputs. Weights are random.
    With --quick a ResNet-18 stands for the ResNet-50.
    """
    small, published = configuration("market_small"), configuration("market")
    if options.quick:
        published.model.backbone = "resnet18"
    for config, phase in ((small, small.phases[-1]), (published, published.phases[1])):
        info = CheckpointInfo(config, phase.name, PEOPLE, MARKET1501)
        size = config.data.height, config.data.width
        model = Trained(info, random_variables(info.model(), *size), 0)
        with tempfile.TemporaryDirectory() as folder:
            yield from _case(config, phase, model, Path(folder), 3 if options.quick else 9)


def _case(config: Config, phase: Phase, model: Trained, folder: Path, rounds: int) -> Iterator[Row]:
    images = random_batch(32, *model.size)["image"]
    name = f"{phase.name} {config.model.backbone}"
    runs: dict[str, Callable] = {"": Embedder(model.info, model.variables).embed}
    for suffix in (files.ONNX, files.STABLEHLO):
        path = folder / f"model{suffix}"
        files.write(model, path)
        for program, found in differences(path, model, images).items():
            yield {
                "section": "exported",
                "what": f"{name}, {program}",
                "mb": path.stat().st_size / 1e6,
                "descriptor": found["descriptor"],
                "largest": max(found.values()),
            }
        runs |= files.runtimes(path)
    if torch_or_none():
        from benchmarks import torch_embedding

        runs["PyTorch"] = partial(
            torch_embedding.described, torch_embedding.describer(config, phase)
        )
    for count in (1, 32):
        turns: dict[str, Callable] = {
            f"{name}, {count} image{'s' * (count > 1)}{', ' * bool(program)}{program}": partial(
                run, np.ascontiguousarray(images[:count])
            )
            for program, run in runs.items()
        }
        for row in in_turn("exported", turns, rounds):
            yield row | {"images_per_s": count / row["median"]}
