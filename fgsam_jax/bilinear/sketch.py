r"""Count sketches: a long feature hashed into a few bins, inner products kept in expectation.

.. math:: \Psi(x)_k = \sum_{i : h(i) = k} s(i) x_i

for bins :math:`h` uniform and signs :math:`s` fair (Charikar et al., "Finding Frequent Items in
Data Streams", 2002). Then :math:`E \langle \Psi(x), \Psi(y) \rangle = \langle x, y \rangle`, with a
variance of order :math:`|x|^2 |y|^2 / d` for d bins.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.errors import InputError, check_arrays
from fgsam_jax.settings import in_any_program, usual_promotion

_LARGEST = 2**31 - 1  # bins are int32


@partial(
    jax.tree_util.register_dataclass, data_fields=["bins", "signs"], meta_fields=["size", "load"]
)
@dataclass(frozen=True)
class CountSketch:
    """The hash of one feature: which bin each channel falls into, and with which sign.

    A pytree whose leaves are the tables, so that they may be stored and restored with the weights;
    sizes are static, known while compiling.

    Attributes:
      bins: [channels] int32 in [0, size).
      signs: [channels] int8, +1 or -1.
      size: number of bins, d.
      load: no bin holds more channels; None where that is not known.

    Example:
      >>> sketch = CountSketch(jnp.array([0, 2, 0]), jnp.array([1, -1, 1], jnp.int8), size=4)
      >>> jax.tree.map(jnp.shape, sketch)  # a pytree of two tables
      CountSketch(bins=(3,), signs=(3,), size=4, load=None)
    """

    bins: jax.Array
    signs: jax.Array
    size: int
    load: int | None = None


@usual_promotion()
def make_sketch(key: jax.Array, channels: int, size: int) -> CountSketch:
    """Draw a count sketch: bins uniform in [0, size), signs fair.

    Keep the tables with the weights that were trained on them; the same key may give other tables
    under another version of JAX.

    Args:
      key: of `jax.random`; the sketches of x and of y need two.
      channels: of the feature.
      size: number of bins, d. More bins keep inner products more exactly.

    Returns:
      The tables, with at most `usual_load(channels, size)` channels in a bin.

    Raises:
      InputError: channels or size are no whole number from 1 to 2**31 - 1.

    Example:
      >>> sketch = make_sketch(jax.random.key(0), channels=2048, size=4096)
      >>> print(sketch.bins.shape, sketch.signs.dtype, sketch.size, sketch.load)
      (2048,) int8 4096 8
    """
    load = usual_load(channels, size)
    bin_key, sign_key = jax.random.split(key)

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (channels,), 0, size, jnp.int32)

    def crowded(drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.max(jnp.bincount(drawn[1], length=size)) > load

    def again(drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(drawn[0], 0)
        return key, draw(key)

    _, bins = jax.lax.while_loop(crowded, again, (bin_key, draw(bin_key)))
    # In float32, for the same signs in a program of 64 bits.
    positive = jax.random.bernoulli(sign_key, jnp.float32(0.5), (channels,))
    signs = 2 * positive.astype(jnp.int8) - 1
    return CountSketch(bins, signs, size, load)


def usual_load(channels: int, size: int) -> int:
    """The most channels that `make_sketch` puts into one bin; it draws again where more meet.

    That is rare: of 2048 channels in 4096 bins more than 8 meet in one sketch of 70,000.

    Args:
      channels: of the feature.
      size: number of bins, d.

    Raises:
      InputError: channels or size are no whole number from 1 to 2**31 - 1.

    Example:
      >>> usual_load(channels=2048, size=4096)
      8
    """
    for name, number in (("channels", channels), ("size", size)):
        if not isinstance(number, int | np.integer) or not 1 <= number <= _LARGEST:
            raise InputError(
                f"{name} of a sketch is a whole number from 1 to 2**31 - 1, got {number!r}"
            )
    return 6 + 2 * -(-channels // size)


@in_any_program
def count_sketch(x: jax.Array, sketch: CountSketch) -> jax.Array:
    r"""The count sketch :math:`\Psi(x)` of the last axis, in float32 or wider.

    Args:
      x: [..., channels].
      sketch: for the same number of channels.

    Returns:
      [..., size]; NaN in the bin of a channel that is NaN.

    Raises:
      InputError: the sketch is for another number of channels, or its tables are none, see
        `check_sketch`.

    Example:
      >>> bins, signs = jnp.array([0, 2, 0]), jnp.array([1, -1, 1], jnp.int8)
      >>> print(count_sketch(jnp.array([1.0, 2.0, 3.0]), CountSketch(bins, signs, size=4)))
      [ 4.  0. -2.  0.]
    """
    check_sketch(sketch)
    check_arrays("x [..., channels], bins int [channels]", x, sketch.bins)
    # rfft refuses bfloat16, and sums of many terms want float32 anyway.
    signed = x.astype(jnp.promote_types(x.dtype, jnp.float32)) * sketch.signs
    return _sum_into_bins(signed, sketch.bins, sketch.size, sketch.load)


def check_sketch(sketch: CountSketch) -> None:
    """Refuse tables that do not fit each other or the size: sums would be lost without a word.

    While a program is traced only the shapes of its arguments are known, not their values.

    Args:
      sketch: from anywhere.

    Raises:
      InputError: tables of different lengths, bins that are no whole numbers in [0, size), signs
        other than +1 and -1, or more channels in a bin than `load`.

    Example:
      >>> check_sketch(CountSketch(jnp.array([0, 4]), jnp.array([1, -1]), size=4))
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: bins of a sketch of size 4 go from 0 to 3, got 4
    """
    check_arrays("bins int [channels], signs [channels]", sketch.bins, sketch.signs)
    bins, signs, size = _value(sketch.bins), _value(sketch.signs), sketch.size
    if bins is not None:
        outside = bins[(bins < 0) | (bins >= size)]
        if len(outside):
            raise InputError(
                f"bins of a sketch of size {size} go from 0 to {size - 1}, got {outside[0]}"
            )
        most = int(np.bincount(bins).max(initial=0))
        if sketch.load is not None and most > sketch.load:
            raise InputError(f"a sketch of load {sketch.load} has {most} channels in one bin")
    if signs is not None and (np.abs(signs) != 1).any():
        raise InputError("signs of a sketch are +1 and -1, got others")


def _value(table: jax.Array) -> np.ndarray | None:
    """The numbers of a table; None while tracing, and where other processes have some of them."""
    if isinstance(table, jax.core.Tracer) or not getattr(table, "is_fully_addressable", True):
        return None
    return jax.device_get(table)


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
@usual_promotion()
def _sum_into_bins_jvp(size: int, load: int | None, primals: tuple, tangents: tuple) -> tuple:
    # The sums are linear, so those of the tangents are the same. They are written as a scatter
    # because its transpose is a gather: in the gradient each channel reads its bin.
    x, bins = primals
    zeros = jnp.zeros((*x.shape[:-1], size), x.dtype)
    return _sum_into_bins(x, bins, size, load), zeros.at[..., bins].add(tangents[0])


def _scatter_into_bins(x: jax.Array, bins: jax.Array, size: int) -> jax.Array:
    """`_sum_into_bins` for a CPU: [..., channels] and [channels] to [..., size]."""
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
