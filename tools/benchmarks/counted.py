"""FLOPs at full size: XLA's count beside a formula, what frozen parameters save, what is kept."""

import argparse
import dataclasses
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from benchmarks.common import (
    Row,
    configuration,
    first_state,
    jitted_step,
    model_of,
    random_batch,
)
from benchmarks.common import counted as xla_count
from fgsam_jax.config import Config, Phase
from fgsam_jax.models.conv import keep_products
from fgsam_jax.models.factory import variable_shapes


def counted(options: argparse.Namespace) -> list[Row]:
    """Of configs/market.py, from the lowered program; nothing is compiled.

    "gflop" is XLA's for one image, "formula" the sum over convolutions and dense layers without
    the products with padding, as XLA counts them too, "with_padding" the usual count. The train
    step of the last phase follows, for each choice of what of the pose net is trained, and what is
    kept of the forward pass for the backward one, without and with `config.compute.remat`.
    """
    config = configuration("market")
    height, width = config.data.height, config.data.width
    rows = []
    for phase in config.phases[-1:] if options.quick else config.phases:
        model = model_of(config, phase)
        images = jax.ShapeDtypeStruct((1, height, width, 3), np.uint8)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        lowered = jax.jit(model.apply).lower(shapes, images)
        figures = xla_count(lowered)
        inside, everywhere = formula(model, shapes, images)
        rows.append(
            {
                "section": "counted",
                "what": f"{phase.name}, forward, one image",
                "gflop": figures["gflop"],
                "formula": inside / 1e9,
                "difference": figures["gflop"] * 1e9 / inside - 1,
                "with_padding": everywhere / 1e9,
            }
        )
    last = config.phases[-1]
    batch = jax.eval_shape(lambda: random_batch(last.batch, height, width))
    steps = {}
    for train_pose in ("cpb_only", "all") if options.quick else ("cpb_only", "all", "none"):
        phase = dataclasses.replace(last, train_pose=train_pose)
        step, optimizer = jitted_step(config, phase)
        state = first_state(config, phase, optimizer, abstract=True)
        key = jax.eval_shape(lambda: jax.random.key(0))
        figures = xla_count(step.lower(state, batch, key))
        steps[train_pose] = {"gflop": figures["gflop"] / last.batch}
    for train_pose, figures in steps.items():
        row = {"section": "counted", "what": f"{last.name}, step, train_pose={train_pose}"}
        rows.append(row | figures | {"of_all": figures["gflop"] / steps["all"]["gflop"]})
    for phase in [last] if options.quick else config.phases[1:2] + config.phases[-1:]:
        rows += kept_for_backward(config, phase)
    return rows


def kept_for_backward(config: Config, phase: Phase) -> list[Row]:
    """MiB an image that JAX keeps for a backward pass through all of a model, less its weights.

    What a compiler makes of it differs: XLA's for the CPU needs the same memory either way.
    """
    model = model_of(config, phase)
    size, images = (config.data.height, config.data.width), 8
    shapes = variable_shapes(model, *size)
    batch = jax.ShapeDtypeStruct((images, *size, 3), np.uint8)
    rows: list[Row] = []
    for what, policy in {"": None, ", remat": keep_products}.items():

        def kept(variables: Any, batch: Any, policy: Any = policy) -> Any:
            def apply(params: Any) -> Any:
                every = {**variables, "params": params}
                return model.apply(every, batch, train=True, mutable=["batch_stats"])

            function = jax.checkpoint(apply, policy=policy) if policy else apply
            return jax.vjp(function, variables["params"])[1]

        leaves = jax.tree.leaves(jax.eval_shape(kept, shapes, batch))
        weights = jax.tree.leaves(shapes["params"])
        all_bytes, weight_bytes = (
            sum(x.size * x.dtype.itemsize for x in tree) for tree in (leaves, weights)
        )
        row = {"section": "counted", "what": f"{phase.name}, kept for the backward pass{what}"}
        rows.append(row | {"mib_per_image": (all_bytes - weight_bytes) / images / 2**20})
    rows[1]["of_plain"] = rows[1]["mib_per_image"] / rows[0]["mib_per_image"]
    return rows


def formula(model: nn.Module, shapes: Any, images: Any) -> tuple[float, float]:
    """FLOPs of a model's convolutions and dense layers, two for a product and its addition.

    Returns:
      Without and with the products with padding.
    """
    totals = np.zeros(2)

    def note(call: Any, arguments: tuple, options: dict, context: nn.module.InterceptorContext):
        result, module, given = call(*arguments, **options), context.module, arguments[0]
        if context.method_name == "__call__" and isinstance(module, nn.Dense):
            totals[:] += 2 * np.prod(result.shape) * given.shape[-1]
        if context.method_name == "__call__" and isinstance(module, nn.Conv):
            totals[:] += _convolution(module, given.shape, result.shape)
        return result

    with nn.intercept_methods(note):
        jax.eval_shape(model.apply, shapes, images)
    return float(totals[0]), float(totals[1])


def _convolution(module: nn.Conv, given: tuple[int, ...], result: tuple[int, ...]) -> np.ndarray:
    """FLOPs of one convolution, without and with the products with padding."""
    strides = np.broadcast_to(1 if module.strides is None else module.strides, 2)
    sizes = np.broadcast_to(module.kernel_size, 2)
    inside, everywhere = 1.0, 1.0
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True), 1):
        # Every padding here is symmetric: half the kernel.
        where = stride * np.arange(result[axis])[:, None] + np.arange(size) - size // 2
        inside *= np.sum((where >= 0) & (where < given[axis]))
        everywhere *= where.size
    channels = given[-1] // module.feature_group_count * result[-1]
    return 2 * result[0] * channels * np.array([inside, everywhere])
