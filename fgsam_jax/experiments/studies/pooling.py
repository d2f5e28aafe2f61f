"""What a size of sketch costs and how exact it is, beside the full bilinear product."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.bilinear import compact_bilinear_parts, make_sketch
from fgsam_jax.config import Config
from fgsam_jax.labels.skeleton import POSE_CHANNELS, part_channels
from fgsam_jax.models.factory import make_backbone

_IMAGES, _DRAWS, _TIMES = 16, 8, 7


def pooling_figures(config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    """The standard error of a cosine and the time of a forward pass.

    The maps are of random numbers and have the sizes of the model's. The cosine is that of two
    images' products of the whole body; its error is over pairs of images and draws of sketches.

    Args:
      config: of the run.
      folder: of the run; not read.

    Returns:
      "sketch", of the configuration's size, and "full", of the product itself, each with the
      figures "cosine error" and "ms for 16 images" under "beside".
    """
    del folder
    model, data = config.model, config.data
    image = jax.ShapeDtypeStruct((1, data.height, data.width, 3), jnp.float32)
    backbone = make_backbone(model, jnp.float32, None)
    key = jax.random.key(config.seed)
    features = jax.eval_shape(lambda image: backbone.init_with_output(key, image)[0], image)
    _, height, width, channels = features.shape
    random = np.random.default_rng(config.seed)
    x, y = (
        jnp.asarray(random.standard_normal((_IMAGES, height * width, size), np.float32))
        for size in (channels, POSE_CHANNELS)
    )
    parts = jnp.asarray(part_channels(), jnp.float32)

    @jax.jit
    def full(x: jax.Array, y: jax.Array) -> jax.Array:
        product = jnp.einsum("npc,npd->ncd", x, y) / x.shape[1]
        return jnp.einsum("ncd,kd->nkcd", product, parts).reshape(len(x), len(parts), -1)

    def compact(key: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
        one, other = jax.random.split(key)
        sketches = (
            make_sketch(one, channels, model.sketch),
            make_sketch(other, POSE_CHANNELS, model.sketch),
        )
        return lambda x, y: compact_bilinear_parts(x, y, parts, *sketches, method=model.bilinear)

    exact = _cosines(full(x, y)[:, -1])
    keys = jax.random.split(key, _DRAWS)
    errors = [_cosines(compact(key)(x, y)[:, -1]) - exact for key in keys]
    column = f"ms for {_IMAGES} images"
    return {
        "sketch": {
            "beside": {
                "cosine error": float(np.sqrt(np.mean(np.square(errors)))),
                column: _milliseconds(jax.jit(compact(key)), x, y),
            }
        },
        "full": {
            "evaluation": None,
            "beside": {"cosine error": 0.0, column: _milliseconds(full, x, y)},
        },
    }


def _cosines(rows: jax.Array) -> np.ndarray:
    """Of all pairs of rows."""
    unit = np.asarray(rows, np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def _milliseconds(function: Callable, *arguments: jax.Array) -> float:
    jax.block_until_ready(function(*arguments))
    spent = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        spent.append(1000 * (time.perf_counter() - begun))
    return median(spent)
