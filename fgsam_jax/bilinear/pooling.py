"""Compact bilinear pooling by four methods that give the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.bilinear.sketch import CountSketch, check_sketch, count_sketch
from fgsam_jax.errors import InputError, check_arrays
from fgsam_jax.settings import in_any_program, usual_promotion

METHODS = ("textbook", "fft", "gram", "roll")
Sketches = tuple[CountSketch, CountSketch]  # of x and of y


@in_any_program
def compact_bilinear(
    x: jax.Array,
    y: jax.Array,
    sketch_x: CountSketch,
    sketch_y: CountSketch,
    *,
    method: str = "fft",
) -> jax.Array:
    r"""Mean over positions of the count sketch of the outer product of x and y.

    .. math:: \frac1P \sum_p \Psi(x_p \otimes y_p), \quad p = 1, \dots, P

    Maps [batch, height, width, channels] are given as [batch, height * width, channels].

    Args:
      x: [batch, positions, channels_x].
      y: [batch, positions, channels_y].
      sketch_x: for channels_x.
      sketch_y: for channels_y, of the same size.
      method: "textbook", "fft", "gram" or "roll"; the numbers are the same.

    Returns:
      [batch, size] in float32 or wider; an image with a NaN has NaN there.

    Raises:
      InputError: shapes, sizes, tables (see `check_sketch`) or the method do not fit.

    Example:
      >>> x, y = jnp.array([[[1.0, 2.0]]]), jnp.array([[[3.0, 5.0]]])  # one image, one position
      >>> sketch_x = CountSketch(jnp.array([0, 1]), jnp.array([1, 1], jnp.int8), size=4)
      >>> sketch_y = CountSketch(jnp.array([0, 3]), jnp.array([1, -1], jnp.int8), size=4)
      >>> print(compact_bilinear(x, y, sketch_x, sketch_y, method="roll"))
      [[-7.  6.  0. -5.]]

    The products 3 and 6 fall into the bins 0 and 1, -5 into bin 3 and -10 into (1 + 3) mod 4 = 0.
    """
    whole = np.ones((1, *jnp.shape(sketch_y.bins)), np.float32)
    return compact_bilinear_parts(x, y, whole, sketch_x, sketch_y, method=method)[:, 0]


@in_any_program
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
      [batch, parts, size] in float32 or wider; an image with a NaN has NaN in every part.

    Raises:
      InputError: shapes, sizes, tables (see `check_sketch`) or the method do not fit.

    Example:
      >>> x, y = jnp.array([[[1.0, 2.0]]]), jnp.array([[[3.0, 5.0]]])  # one image, one position
      >>> sketch_x = CountSketch(jnp.array([0, 1]), jnp.array([1, 1], jnp.int8), size=4)
      >>> sketch_y = CountSketch(jnp.array([0, 3]), jnp.array([1, -1], jnp.int8), size=4)
      >>> parts = np.eye(2)  # each channel of y alone
      >>> print(compact_bilinear_parts(x, y, parts, sketch_x, sketch_y, method="roll"))
      [[[  3.   6.   0.   0.]
        [-10.   0.   0.  -5.]]]
    """
    check_arrays(
        "x [batch, positions, channels_x], y [batch, positions, channels_y], "
        "parts [parts, channels_y], bins of x int [channels_x], bins of y int [channels_y]",
        *(x, y, parts, sketch_x.bins, sketch_y.bins),
    )
    check_sketch(sketch_x)
    check_sketch(sketch_y)
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
    """The definition, position by position and part by part: [batch, parts, size]."""
    sketch_x, sketch_y = sketches
    size = sketch_x.size
    spectrum_x = jnp.fft.rfft(count_sketch(x, sketch_x), n=size)
    spectrum_y = jnp.fft.rfft(count_sketch(y[:, :, None] * parts, sketch_y), n=size)
    products = spectrum_x[:, :, None] * spectrum_y
    return jnp.mean(jnp.fft.irfft(products, n=size), axis=1)


def _fft(x: jax.Array, y: jax.Array, parts: jax.Array, sketches: Sketches) -> jax.Array:
    """The mean over positions before the inverse transform, which is linear."""
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
    r"""Rows of the mean outer product, sketched by x and rotated by y's bins as spectra.

    Channel j of y adds :math:`s_y(j) \, \mathrm{roll}(\Psi(\overline{y_j x}), h_y(j))`, which is a
    product with :math:`s_y(j) e^{-2 \pi i k h_y(j) / d}` in the frequency domain.
    """
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
    """As `_gram`, with rotated rows instead of their spectra."""
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
@usual_promotion()
def _roll_rows_jvp(primals: tuple, tangents: tuple) -> tuple:
    # As a scatter, for a gradient that gathers, as in `_sum_into_bins_jvp`.
    rows, bins = primals
    targets = (jnp.arange(rows.shape[2]) + bins[:, None]) % rows.shape[2]
    zeros = jnp.zeros_like(rows)
    tangent = zeros.at[:, jnp.arange(len(bins))[:, None], targets].add(tangents[0])
    return _roll_rows(rows, bins), tangent


def _sum_parts(rows: jax.Array, parts: jax.Array) -> jax.Array:
    """Weighted sums of rows: [batch, channels, n], [parts, channels] to [batch, parts, n]."""
    # The weights are repeated for every image: XLA then need not move the rows' axes, which
    # takes longer than the sums.
    weights = jnp.broadcast_to(parts, (rows.shape[0], *parts.shape))
    return jnp.matmul(weights, rows, precision=jax.lax.Precision.HIGHEST)
