"""Every published backbone, forward."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import Row, finished, in_turn
from fgsam_jax.config import Model
from fgsam_jax.models import efficientnet, mobilenet, osnet, resnet
from fgsam_jax.models.factory import make_backbone, variable_shapes


def backbones(options: argparse.Namespace) -> list[Row]:
    """Every published backbone: parameters, counted arithmetic and features of 256x128 images.

    "gflop" is XLA's count for one image, two for a multiplication and an addition, without the
    products with padding; "images_per_s" is of the forward pass in batches of 8, float32.
    """
    published = [name for name in resnet.VARIANTS if "_" not in name and name != "resnet10"]
    names = [*published, "resnet50_caffe", "resnet50_ibn_a", *osnet.VARIANTS]
    names += [*efficientnet.VARIANTS, *mobilenet.VARIANTS]
    names = ["resnet18", "resnet50", "osnet_x0_25"] if options.quick else names
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 256, 128, 3), np.uint8))
    runs: dict[str, Callable[[], Any]] = {}
    counted: dict[str, Row] = {}
    for name in names:
        module = make_backbone(Model(backbone=name), jnp.float32, None)
        shapes = variable_shapes(module, 256, 128)
        ones = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), shapes)
        lowered = jax.jit(module.apply).lower(ones, images)
        runs[name] = partial(finished, lowered.compile(), ones, images)
        size = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes["params"]))
        flops = (lowered.cost_analysis() or {})["flops"]
        counted[name] = {"parameters": size, "gflop": flops / len(images) / 1e9}
    rows = in_turn("backbones", runs, 3 if options.quick else 5)
    for row in rows:
        row |= counted[row["what"]] | {"images_per_s": len(images) / row["median"]}
    return rows
