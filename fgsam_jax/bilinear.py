r"""Compact bilinear pooling by count sketch.

The outer product of two features, averaged over positions, is a rich second-order descriptor of
:math:`C_x C_y` numbers. Its count sketch keeps inner products in expectation with a few thousand
(Gao et al., "Compact Bilinear Pooling", 2016; Pham and Pagh, "Fast and Scalable Polynomial
Kernels via Explicit Feature Maps", 2013):

.. math::
  \Psi(x)_k = \sum_{i : h(i) = k} s(i) x_i, \qquad
  \Psi(x \otimes y) = \Psi(x) * \Psi(y) = F^{-1}(F \Psi(x) \cdot F \Psi(y))

where the outer product is hashed with :math:`h_x + h_y \bmod d` and :math:`s_x s_y`.

The four methods give the same numbers to float32 rounding:

- "textbook": transforms and an inverse for every position and part; the reference.
- "fft": the spectrum of x is shared by all parts, positions are summed in the frequency domain,
  and each part takes one inverse.
- "gram": the positions are contracted first, in one matrix product, and only its few rows (one
  for each channel of y) are sketched and transformed.
- "roll": as "gram", but each row is rotated by its bin instead of transformed.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.errors import InputError

METHODS = ("textbook", "fft", "gram", "roll")


@partial(jax.tree_util.register_dataclass, data_fields=["bins", "signs"], meta_fields=["size"])
@dataclass(frozen=True)
class CountSketch:
    """The hash of one feature: which bin each channel falls into, and with which sign.

    Attributes:
      bins: [channels] int32 in [0, size).
      signs: [channels] int8, +1 or -1.
      size: number of bins, d.
    """

    bins: jax.Array
    signs: jax.Array
    size: int


def make_sketch(key: jax.Array, channels: int, size: int) -> CountSketch:
    """Draw a count sketch: bins uniform in [0, size), signs fair.

    Keep the tables with the weights that were trained on them; the same key may give other tables
    under another version of JAX.
    """
    bin_key, sign_key = jax.random.split(key)
    bins = jax.random.randint(bin_key, (channels,), 0, size, jnp.int32)
    signs = 2 * jax.random.bernoulli(sign_key, shape=(channels,)).astype(jnp.int8) - 1
    return CountSketch(bins, signs, size)


def count_sketch(x: jax.Array, sketch: CountSketch) -> jax.Array:
    r"""The count sketch :math:`\Psi(x)` of the last axis, in float32 or wider.

    Args:
      x: [..., channels].
      sketch: for the same number of channels.

    Returns:
      [..., size].

    Raises:
      InputError: the sketch is for another number of channels.
    """
    if x.shape[-1] != len(sketch.bins):
        raise InputError(
            f"count_sketch got {x.shape[-1]} channels with a sketch for {len(sketch.bins)}"
        )
    # rfft refuses bfloat16, and sums of many terms want float32 anyway.
    signed = x.astype(jnp.promote_types(x.dtype, jnp.float32)) * sketch.signs
    # Whole rows are added, channels leading: on a CPU this is several times faster than adding
    # scattered numbers along the last axis.
    rows = jnp.moveaxis(signed, -1, 0).reshape(x.shape[-1], -1)
    sums = jax.ops.segment_sum(rows, sketch.bins, sketch.size)
    return jnp.moveaxis(sums.reshape(sketch.size, *x.shape[:-1]), 0, -1)


def compact_bilinear(
    x: jax.Array,
    y: jax.Array,
    sketch_x: CountSketch,
    sketch_y: CountSketch,
    *,
    method: str = "fft",
) -> jax.Array:
    """Mean over positions of the count sketch of the outer product of x and y.

    Args:
      x: [batch, positions, channels_x].
      y: [batch, positions, channels_y].
      sketch_x: for channels_x.
      sketch_y: for channels_y, of the same size.
      method: "textbook", "fft", "gram" or "roll"; the numbers are the same.

    Returns:
      [batch, size] in float32 or wider.

    Raises:
      InputError: shapes, sizes or the method do not fit.
    """
    whole = np.ones((1, y.shape[-1]), np.float32)
    return compact_bilinear_parts(x, y, whole, sketch_x, sketch_y, method=method)[:, 0]


def compact_bilinear_parts(
    x: jax.Array,
    y: jax.Array,
    parts: np.ndarray | jax.Array,
    sketch_x: CountSketch,
    sketch_y: CountSketch,
    *,
    method: str = "fft",
) -> jax.Array:
    """`compact_bilinear` of x with several subsets of y's channels, sharing what they can.

    Args:
      x: [batch, positions, channels_x].
      y: [batch, positions, channels_y].
      parts: [parts, channels_y], the weight of each channel in each part; 0 leaves it out.
      sketch_x: for channels_x.
      sketch_y: for channels_y, of the same size.
      method: "textbook", "fft", "gram" or "roll"; the numbers are the same.

    Returns:
      [batch, parts, size] in float32 or wider.

    Raises:
      InputError: shapes, sizes or the method do not fit.
    """
    if x.shape[:2] != y.shape[:2]:
        raise InputError(
            f"compact_bilinear needs the same batch and positions: x has {x.shape[:2]}, "
            f"y has {y.shape[:2]}"
        )
    if sketch_x.size != sketch_y.size:
        raise InputError(
            f"the sketches must have one size: x has {sketch_x.size}, y has {sketch_y.size}"
        )
    if method not in METHODS:
        raise InputError(f"method is one of {', '.join(METHODS)}; not {method!r}")
    size = sketch_x.size
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    parts = jnp.asarray(parts, dtype)

    if method in ("textbook", "fft"):
        part_maps = y.astype(dtype)[:, :, None, :] * parts
        spectrum_x = jnp.fft.rfft(count_sketch(x, sketch_x), n=size)
        spectrum_y = jnp.fft.rfft(count_sketch(part_maps, sketch_y), n=size)
        if method == "textbook":
            products = spectrum_x[:, :, None] * spectrum_y
            return jnp.mean(jnp.fft.irfft(products, n=size), axis=1)
        products = jnp.einsum(
            "blf,blpf->bpf", spectrum_x, spectrum_y, precision=jax.lax.Precision.HIGHEST
        )
        products /= x.shape[1]
        return jnp.fft.irfft(products, n=size)

    # gram[b, j, i] = mean over positions of y_j x_i: the outer product, small in its j.
    # In full precision: GPUs would multiply float32 with ten bits of mantissa.
    full = jax.lax.Precision.HIGHEST
    gram = jnp.einsum("blj,bli->bji", y, x, precision=full, preferred_element_type=dtype)
    gram /= x.shape[1]
    rows = count_sketch(gram, sketch_x)
    if method == "roll":
        return _sum_of_rolled_rows(rows, parts, sketch_y)
    one_hot = count_sketch(jnp.eye(y.shape[-1], dtype=dtype), sketch_y)
    rotations = jnp.fft.rfft(one_hot, n=size)  # s(j) exp(-2 pi i k h(j) / d)
    products = jnp.einsum(
        "bjf,jf,pj->bpf", jnp.fft.rfft(rows, n=size), rotations, parts, precision=full
    )
    return jnp.fft.irfft(products, n=size)


def _sum_of_rolled_rows(rows: jax.Array, parts: jax.Array, sketch: CountSketch) -> jax.Array:
    """Rotate row j by its bin, give it its sign, and sum each part's rows: [batch, parts, size]."""
    positions = (jnp.arange(sketch.size)[None] - sketch.bins[:, None]) % sketch.size
    rolled = jnp.take_along_axis(rows, positions[None], axis=2) * sketch.signs[:, None]
    return jnp.einsum("pj,bjk->bpk", parts, rolled, precision=jax.lax.Precision.HIGHEST)
