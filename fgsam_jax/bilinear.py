r"""Compact bilinear pooling by count sketch.

The outer product of two features, averaged over positions, is a rich second-order descriptor of
:math:`C_x C_y` numbers. Its count sketch keeps inner products in expectation with a few thousand
(Gao et al., "Compact Bilinear Pooling", 2016; Pham and Pagh, "Fast and Scalable Polynomial
Kernels via Explicit Feature Maps", 2013):

.. math::
  \Psi(x)_k = \sum_{i : h(i) = k} s(i) x_i, \qquad
  \Psi(x \otimes y) = \Psi(x) * \Psi(y) = F^{-1}(F \Psi(x) \cdot F \Psi(y))

where the outer product is hashed with :math:`h_x + h_y \bmod d` and :math:`s_x s_y`.

The four methods give the same numbers to float32 rounding; all but the first keep only their
inputs for the backward pass:

- "textbook": transforms and an inverse for every position and part; the reference.
- "fft": the spectrum of x is shared by all parts, positions are summed in the frequency domain,
  and each part takes one inverse. One image after another.
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


@partial(
    jax.tree_util.register_dataclass, data_fields=["bins", "signs"], meta_fields=["size", "load"]
)
@dataclass(frozen=True)
class CountSketch:
    """The hash of one feature: which bin each channel falls into, and with which sign.

    Attributes:
      bins: [channels] int32 in [0, size).
      signs: [channels] int8, +1 or -1.
      size: number of bins, d.
      load: no bin holds more channels; None where that is not known.
    """

    bins: jax.Array
    signs: jax.Array
    size: int
    load: int | None = None


Sketches = tuple[CountSketch, CountSketch]  # of x and of y


def make_sketch(key: jax.Array, channels: int, size: int) -> CountSketch:
    """Draw a count sketch: bins uniform in [0, size), signs fair.

    Keep the tables with the weights that were trained on them; the same key may give other tables
    under another version of JAX.
    """
    bin_key, sign_key = jax.random.split(key)
    load = usual_load(channels, size)

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (channels,), 0, size, jnp.int32)

    def crowded(drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.max(jnp.bincount(drawn[1], length=size)) > load

    def again(drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(drawn[0], 0)
        return key, draw(key)

    _, bins = jax.lax.while_loop(crowded, again, (bin_key, draw(bin_key)))
    signs = 2 * jax.random.bernoulli(sign_key, shape=(channels,)).astype(jnp.int8) - 1
    return CountSketch(bins, signs, size, load)


def usual_load(channels: int, size: int) -> int:
    """The most channels that `make_sketch` puts into one bin; it draws again where more meet.

    That is rare: of 2048 channels in 4096 bins more than 8 meet in one sketch of 70,000.
    """
    return 6 + 2 * -(-channels // size)


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
    return _sum_into_bins(signed, sketch.bins, sketch.size, sketch.load)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _sum_into_bins(x: jax.Array, bins: jax.Array, size: int, load: int | None) -> jax.Array:
    """Sum the channels of each bin: [..., channels] and [channels] to [..., size]."""
    return jax.lax.platform_dependent(
        x,
        bins,
        cpu=partial(_scatter_into_bins, size=size),
        default=partial(_gather_into_bins, size=size, load=load),
    )


@_sum_into_bins.defjvp
def _sum_into_bins_jvp(size: int, load: int | None, primals: tuple, tangents: tuple) -> tuple:
    # The sums are linear, so those of the tangents are the same. They are written as a scatter
    # because its transpose is a gather: in the gradient each channel reads its bin.
    x, bins = primals
    zeros = jnp.zeros((*x.shape[:-1], size), x.dtype)
    return _sum_into_bins(x, bins, size, load), zeros.at[..., bins].add(tangents[0])


def _scatter_into_bins(x: jax.Array, bins: jax.Array, size: int) -> jax.Array:
    """`_sum_into_bins` for a CPU."""
    # Whole rows are added, channels leading: several times faster there than adding scattered
    # numbers along the last axis, and at 2048 channels in 4096 bins faster than gathering.
    sums = jax.ops.segment_sum(jnp.moveaxis(x, -1, 0).reshape(x.shape[-1], -1), bins, size)
    return jnp.moveaxis(sums.reshape(size, *x.shape[:-1]), 0, -1)


def _gather_into_bins(
    x: jax.Array, bins: jax.Array, size: int, load: int | None = None
) -> jax.Array:
    """`_sum_into_bins` without a scatter, whose additions a GPU makes in no fixed order.

    Sorted by bin, the channels of bin k are `held[k]` in a row from `first[k]` on. Round i adds
    the i-th channel of every bin that has so many; with a known load the rounds become one kernel,
    and without it the host of a GPU waits to learn how many there are.
    """
    order = jnp.argsort(bins, stable=True)
    edges = jnp.searchsorted(bins[order], jnp.arange(size + 1), method="scan_unrolled")
    first, held = edges[:-1], jnp.diff(edges)

    def add(rank: jax.Array, sums: jax.Array) -> jax.Array:
        channels = jnp.take(order, first + rank, mode="clip")
        return sums + jnp.where(rank < held, jnp.take(x, channels, axis=-1, mode="clip"), 0)

    zeros = jnp.zeros((*x.shape[:-1], size), x.dtype)
    if load is None:
        return jax.lax.fori_loop(0, jnp.max(held), add, zeros)
    return jax.lax.fori_loop(0, load, add, zeros, unroll=min(load, 32))


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
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    pool = {"textbook": _textbook, "fft": _fft, "gram": _gram, "roll": _roll}[method]
    return pool(x, y, jnp.asarray(parts, dtype), (sketch_x, sketch_y))


def _textbook(x: jax.Array, y: jax.Array, parts: jax.Array, sketches: Sketches) -> jax.Array:
    sketch_x, sketch_y = sketches
    size = sketch_x.size
    spectrum_x = jnp.fft.rfft(count_sketch(x, sketch_x), n=size)
    spectrum_y = jnp.fft.rfft(count_sketch(y[:, :, None] * parts, sketch_y), n=size)
    products = spectrum_x[:, :, None] * spectrum_y
    return jnp.mean(jnp.fft.irfft(products, n=size), axis=1)


def _fft(x: jax.Array, y: jax.Array, parts: jax.Array, sketches: Sketches) -> jax.Array:
    sketch_x, sketch_y = sketches
    size = sketch_x.size

    # Image by image, and once more in the backward pass: the spectra of all positions and parts
    # are large, and those of one image may stay in a cache.
    @jax.checkpoint
    def spectrum(image: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, y = image
        spectrum_x = jnp.fft.rfft(count_sketch(x, sketch_x), n=size)
        spectrum_y = jnp.fft.rfft(count_sketch(y[:, None] * parts, sketch_y), n=size)
        return jnp.mean(spectrum_x[:, None] * spectrum_y, axis=0)

    return jnp.fft.irfft(jax.lax.map(spectrum, (x, y)), n=size)


# Only the outer product needs its inputs again in the backward pass; what follows it is linear.
# So the checkpoint costs no second pass: it makes the rotations again, and nothing else.
@jax.checkpoint
def _gram(x: jax.Array, y: jax.Array, parts: jax.Array, sketches: Sketches) -> jax.Array:
    sketch_x, sketch_y = sketches
    size = sketch_x.size
    rows = count_sketch(_outer_product(x, y, parts.dtype), sketch_x)
    one_hot = count_sketch(jnp.eye(y.shape[-1], dtype=parts.dtype), sketch_y)
    rotations = jnp.fft.rfft(one_hot, n=size)  # s(j) exp(-2 pi i k h(j) / d)
    rotated = jnp.fft.rfft(rows, n=size) * rotations
    # Real by real: the weights as complex numbers would cost twice.
    products = jax.lax.complex(_sum_parts(rotated.real, parts), _sum_parts(rotated.imag, parts))
    return jnp.fft.irfft(products, n=size)


@jax.checkpoint
def _roll(x: jax.Array, y: jax.Array, parts: jax.Array, sketches: Sketches) -> jax.Array:
    sketch_x, sketch_y = sketches
    rows = count_sketch(_outer_product(x, y, parts.dtype), sketch_x)
    rolled = _roll_rows(rows, sketch_y.bins) * sketch_y.signs[:, None]
    return _sum_parts(rolled, parts)


def _outer_product(x: jax.Array, y: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Mean over positions of y_j x_i, small in its j: [batch, channels_y, channels_x]."""
    # In full precision: GPUs would multiply float32 with ten bits of mantissa.
    full = jax.lax.Precision.HIGHEST
    gram = jnp.einsum("blj,bli->bji", y, x, precision=full, preferred_element_type=dtype)
    return gram / x.shape[1]


@jax.custom_jvp
def _roll_rows(rows: jax.Array, bins: jax.Array) -> jax.Array:
    """Rotate row j by bin j: [batch, channels, size] and [channels] to [batch, channels, size]."""
    size = rows.shape[2]
    sources = (jnp.arange(size) - bins[:, None]) % size
    return jnp.take_along_axis(rows, sources[None], axis=2, mode="promise_in_bounds")


@_roll_rows.defjvp
def _roll_rows_jvp(primals: tuple, tangents: tuple) -> tuple:
    # As a scatter, for a gradient that gathers, as in `_sum_into_bins_jvp`.
    rows, bins = primals
    targets = (jnp.arange(rows.shape[2]) + bins[:, None]) % rows.shape[2]
    zeros = jnp.zeros_like(rows)
    tangent = zeros.at[:, jnp.arange(len(bins))[:, None], targets].add(tangents[0])
    return _roll_rows(rows, bins), tangent


def _sum_parts(rows: jax.Array, parts: jax.Array) -> jax.Array:
    """Each part's weighted sum of rows: [batch, channels, n] and [parts, channels].

    Returns:
      [batch, parts, n].
    """
    # The weights are repeated for every image: XLA then need not move the rows' axes, which
    # takes longer than the sums.
    weights = jnp.broadcast_to(parts, (len(rows), *parts.shape))
    return jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
