"""Convolution and ReLU as all networks use them: Flax's, quicker to compute and to trace."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

_PRODUCT = "product"
# A policy of `jax.checkpoint`: of a forward pass keep what convolutions give, and nothing else.
keep_products = jax.checkpoint_policies.save_only_these_names(_PRODUCT)


def _traced_once(initializer: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """An initialiser (key, shape, dtype) that is traced once for every shape.

    Flax calls the initialiser of every parameter whenever a model is traced, to compare shapes.
    Jitted, equal calls after the first cost nothing, and tracing takes a third less time.
    """
    return jax.jit(initializer, static_argnums=(1, 2))


# As in the ResNet paper's training code.
fan_out = _traced_once(nn.initializers.variance_scaling(2.0, "fan_out", "normal"))
he = _traced_once(nn.initializers.he_normal())
small = _traced_once(nn.initializers.normal(0.01))


def convolve(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **others: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` in the form that suits the platform it is compiled for.

    `keep_products` knows its result.

    Args:
      x: [batch, height, width, channels].
      kernel: [height, width, channels, features].
      window_strides, padding, others: as there.
    """
    padded = padding not in ("SAME", "VALID") and np.any(padding)
    dilated = np.any(np.not_equal(others.get("lhs_dilation") or 1, 1))
    grouped = others.get("feature_group_count", 1) != 1
    if kernel.shape[:2] != (1, 1) or padded or dilated or grouped:
        y = _apart(
            jax.lax.conv_general_dilated(_apart(x), kernel, window_strides, padding, **others)
        )
    else:
        y = _pointwise(x, kernel, tuple(window_strides), others.get("precision"))
    return checkpoint_name(y, _PRODUCT)


def _apart(x: jax.Array) -> jax.Array:
    """Keeps a CPU from fusing others into a bfloat16 convolution: JAX 0.12 then gives garbage."""
    if x.dtype != jnp.bfloat16:
        return x
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _pointwise(x: jax.Array, kernel: jax.Array, strides: tuple, precision: Any) -> jax.Array:
    """A 1x1 convolution: on a CPU a product of two matrices, elsewhere a convolution.

    On a CPU the product is 1 to 2 times as fast, its gradients 1.4 to 3 times. For a GPU XLA's
    compiler fails on it (openxla/xla 47381 where it has a stride, "Couldn't find output tile
    sizes" where it is narrow), and what compiles moves more memory than cuDNN's convolution.
    """
    return _by_platform(lambda form: functools.partial(form, strides, precision), x, kernel)


def _pointwise_forward(x: jax.Array, kernel: jax.Array, strides: tuple, precision: Any) -> tuple:
    return _pointwise(x, kernel, strides, precision), (x, kernel)


def _pointwise_backward(
    strides: tuple, precision: Any, saved: tuple, cotangent: jax.Array
) -> tuple:
    # The platform is chosen once more, not differentiated: that would keep what either form needs.
    def pull(form: Callable) -> Callable:
        form = functools.partial(form, strides, precision)
        return lambda cotangent, *saved: jax.vjp(form, *saved)[1](cotangent)

    return _by_platform(pull, cotangent, *saved)


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _by_platform(use: Callable, *arguments: jax.Array) -> Any:
    """use(form) of the form that suits the platform, called with the arguments."""
    return jax.lax.platform_dependent(*arguments, cpu=use(_product), default=use(_convolution))


def _product(strides: tuple, precision: Any, x: jax.Array, kernel: jax.Array) -> jax.Array:
    x = x[:, :: strides[0], :: strides[1]]
    # The images' axes are joined, as the kernel's gradient would be slow otherwise.
    flat = jax.lax.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0], precision=precision)
    return flat.reshape(*x.shape[:-1], -1)


def _convolution(strides: tuple, precision: Any, x: jax.Array, kernel: jax.Array) -> jax.Array:
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, "VALID", dimension_numbers=axes, precision=precision
    )


Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """max(x, 0), whose gradient reads its result and not x: cuDNN's convolutions then make it.

    With `jax.nn.relu` both are kept for the backward pass.
    """
    return jnp.maximum(x, 0)


# Not "> 0": XLA would ask it of x.
relu.defjvps(lambda tangent, result, x: jnp.where(result != 0, tangent, 0))
