import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.bilinear import (
    METHODS,
    CountSketch,
    compact_bilinear,
    compact_bilinear_parts,
    count_sketch,
    make_sketch,
)
from fgsam_jax.bilinear import sketch as sketch_module
from fgsam_jax.bilinear.sketch import _gather_into_bins
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import part_channels

# One compilation per case is quicker than one per operation.
pool = jax.jit(compact_bilinear, static_argnames="method")
pool_parts = jax.jit(compact_bilinear_parts, static_argnames="method")


def make_case(size=33, batch=2, positions=6, channels_x=24, channels_y=7, seed=0):
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed))
    x = rng.normal(size=(batch, positions, channels_x)).astype(np.float32)
    y = rng.normal(size=(batch, positions, channels_y)).astype(np.float32)
    return x, y, make_sketch(keys[0], channels_x, size), make_sketch(keys[1], channels_y, size)


def loop_sketch(x, sketch):
    """Count sketch of one vector, channel by channel."""
    result = np.zeros(sketch.size)
    for value, place, sign in zip(x, np.array(sketch.bins), np.array(sketch.signs), strict=True):
        result[place] += float(sign) * float(value)
    return result


def explicit(x, y, sketch_x, sketch_y):
    """The outer product written out and every one of its entries put into its bin, float64."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    outer = np.einsum("bpi,bpj->bij", x, y) / x.shape[1]
    places = (np.array(sketch_x.bins)[:, None] + np.array(sketch_y.bins)) % sketch_x.size
    signs = np.array(sketch_x.signs, float)[:, None] * np.array(sketch_y.signs, float)
    result = np.zeros((len(x), sketch_x.size))
    for image, product in zip(result, outer, strict=True):
        np.add.at(image, places, signs * product)
    return result


def assert_close(found, expected, tolerance=1e-5):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=tolerance * scale)


def test_a_sketch_has_a_bin_and_a_sign_for_every_channel():
    sketch = make_sketch(jax.random.key(3), 4000, 50)
    bins, signs = np.array(sketch.bins), np.array(sketch.signs)
    assert bins.shape == signs.shape == (4000,)
    assert sketch.size == 50
    # 80 a bin on average, deviation 9; half of the signs, deviation 32.
    counts = np.bincount(bins, minlength=50)
    assert len(counts) == 50
    assert counts.min() > 35
    assert counts.max() < 130
    assert set(signs.tolist()) == {-1, 1}
    assert abs(int(signs.astype(int).sum())) < 300


def test_a_sketch_is_a_function_of_its_key():
    one, again, other = (make_sketch(jax.random.key(seed), 64, 32) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.bins, again.bins)
    np.testing.assert_array_equal(one.signs, again.signs)
    assert (np.array(one.bins) != np.array(other.bins)).any()


def test_count_sketch_by_hand():
    sketch = CountSketch(jnp.array([2, 0, 2, 1]), jnp.array([1, -1, 1, -1], jnp.int8), 4)
    np.testing.assert_allclose(
        count_sketch(jnp.array([[1.0, 2.0, 3.0, 4.0]]), sketch), [[-2, -4, 4, 0]]
    )


@pytest.mark.parametrize("size", [5, 64])
def test_count_sketch_equals_a_loop_over_channels_for_any_leading_axes(size):
    x, _, sketch, _ = make_case(size)
    found = count_sketch(jnp.array(x), sketch)
    assert found.shape == (2, 6, size)
    expected = [[loop_sketch(vector, sketch) for vector in image] for image in x]
    assert_close(found, np.array(expected), 1e-6)
    assert_close(count_sketch(jnp.array(x[0, 0]), sketch), loop_sketch(x[0, 0], sketch), 1e-6)


SOME_BINS = {
    "few channels in many bins": np.random.default_rng(0).integers(0, 64, 24),
    "many channels in few bins": np.random.default_rng(1).integers(0, 5, 24),
    "all channels in one bin": np.full(24, 3),
    "a hundred channels in one bin": np.zeros(100, int),
    "one channel a bin, backwards": np.arange(24)[::-1],
    "one channel": np.array([2]),
}


@pytest.mark.parametrize("name", SOME_BINS)
def test_gathering_equals_a_loop_over_channels_for_any_bins(name):
    bins = SOME_BINS[name]
    x = np.random.default_rng(2).normal(size=(2, 3, len(bins))).astype(np.float32)
    size = int(bins.max()) + 2
    sketch = CountSketch(bins, np.ones(len(bins)), size)
    expected = np.array([[loop_sketch(vector, sketch) for vector in image] for image in x])
    # The bins are an argument: nothing about them is known while compiling.
    gather = jax.jit(_gather_into_bins, static_argnums=(2, 3))
    most = int(np.bincount(bins).max())
    for load in (None, most, most + 3):
        assert_close(gather(x, bins, size, load), expected, 1e-6)


def test_a_crowded_sketch_is_drawn_again(monkeypatch):
    """64 channels in 64 bins: without a second draw most keys put more than three into one bin."""
    loads = [int(np.bincount(make_sketch(jax.random.key(k), 64, 64).bins).max()) for k in range(8)]
    assert max(loads) > 3
    monkeypatch.setattr(sketch_module, "usual_load", lambda channels, size: 3)
    for key in range(8):
        sketch = make_sketch(jax.random.key(key), 64, 64)
        assert sketch.load == 3
        assert np.bincount(sketch.bins).max() <= 3


def test_no_loop_of_unknown_length_is_compiled_for_a_gpu_where_the_load_is_known():
    sketch = make_sketch(jax.random.key(0), 24, 32)
    traced = jax.jit(jax.grad(lambda x: jnp.sum(count_sketch(x, sketch) ** 2))).trace(jnp.ones(24))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in text
    # The platform's number and what is done on it: both are known while compiling.
    assert text.count("stablehlo.case") == 2


def test_gathering_takes_a_batch_of_sketches():
    x = np.random.default_rng(0).normal(size=(3, 2, 9)).astype(np.float32)
    bins = np.stack([np.zeros(9, int), np.arange(9) % 5, np.arange(9) % 2])
    found = jax.jit(jax.vmap(lambda x, bins: _gather_into_bins(x, bins, 5)))(x, bins)
    for sums, features, row in zip(found, x, bins, strict=True):
        sketch = CountSketch(row, np.ones(9), 5)
        assert_close(sums, np.array([loop_sketch(vector, sketch) for vector in features]), 1e-6)


@pytest.mark.parametrize("bins", [np.arange(24) % 7, np.full(24, 3)], ids=["spread", "one bin"])
def test_derivatives_of_a_sketch_of_every_kind(bins):
    rng = np.random.default_rng(3)
    signs = rng.choice([-1, 1], 24).astype(np.int8)
    sketch = CountSketch(jnp.array(bins), jnp.array(signs), 7)
    x, tangent = rng.normal(size=(2, 3, 24)).astype(np.float32)
    pull = rng.normal(size=(3, 7)).astype(np.float32)

    def apply(x):
        return count_sketch(x, sketch)

    @jax.jit
    def derivatives(x):
        along = jax.jvp(apply, (x,), (tangent,))[1]
        hessian = jax.hessian(lambda x: jnp.sum(apply(x) ** 2) / 2)(x[0])
        return *jax.vjp(apply, x)[1](pull), along, hessian

    gradient, along, hessian = derivatives(x)
    # Each channel's gradient is that of its bin, with its sign.
    np.testing.assert_array_equal(gradient, signs * pull[:, bins])
    # The sketch is linear: the derivative along a tangent is the tangent's sketch.
    expected = np.array([loop_sketch(row, sketch) for row in tangent])
    assert_close(along, expected, 1e-6)
    # Half of a squared length has the Hessian S^T S.
    matrix = signs * (np.arange(7)[:, None] == bins)
    np.testing.assert_array_equal(hessian, matrix.T @ matrix)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 33, 64])
def test_every_method_equals_the_sketch_of_the_outer_product(method, size):
    x, y, sketch_x, sketch_y = make_case(size)
    found = pool(x, y, sketch_x, sketch_y, method=method)
    assert found.shape == (2, size)
    assert_close(found, explicit(x, y, sketch_x, sketch_y))


@pytest.mark.parametrize("method", METHODS)
def test_jit_changes_nothing(method):
    case = make_case(64)
    compiled, plain = pool(*case, method=method), compact_bilinear(*case, method=method)
    assert_close(compiled, np.asarray(plain, np.float64), 1e-6)


def test_the_methods_agree_at_full_width():
    x, y, sketch_x, sketch_y = make_case(4096, positions=4, channels_x=512, channels_y=57)
    reference = explicit(x, y, sketch_x, sketch_y)
    for method in METHODS:
        assert_close(pool(x, y, sketch_x, sketch_y, method=method), reference)


@pytest.mark.parametrize("method", METHODS)
def test_one_product_lands_in_the_bin_of_both_hashes(method):
    sketch_x = CountSketch(jnp.array([5, 6]), jnp.array([1, -1], jnp.int8), 8)
    sketch_y = CountSketch(jnp.array([1, 4]), jnp.array([1, -1], jnp.int8), 8)
    # Channel 1 of x and channel 1 of y: bin (6 + 4) mod 8, sign +; the second position is empty.
    x, y = jnp.array([[[0.0, 3.0], [0.0, 0.0]]]), jnp.array([[[0.0, 2.0], [7.0, 7.0]]])
    found = pool(x, y, sketch_x, sketch_y, method=method)
    np.testing.assert_allclose(found, [[0, 0, 3, 0, 0, 0, 0, 0]], atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_equal_the_transposed_sketch(method):
    x, y, sketch_x, sketch_y = make_case(33)
    pull = np.random.default_rng(1).normal(size=(2, 33)).astype(np.float32)

    def value(x, y):
        return jnp.sum(pull * pool(x, y, sketch_x, sketch_y, method=method))

    places = (np.array(sketch_x.bins)[:, None] + np.array(sketch_y.bins)) % 33
    signs = np.array(sketch_x.signs, float)[:, None] * np.array(sketch_y.signs, float)
    weights = signs * pull.astype(np.float64)[:, places] / x.shape[1]
    gradient_x, gradient_y = jax.jit(jax.grad(value, argnums=(0, 1)))(x, y)
    assert_close(gradient_x, np.einsum("bij,bpj->bpi", weights, y))
    assert_close(gradient_y, np.einsum("bij,bpi->bpj", weights, x))


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives_and_tangents(method):
    x, y, sketch_x, sketch_y = make_case(16, channels_x=5, channels_y=3)

    def value(x):
        return jnp.sum(pool(x, y, sketch_x, sketch_y, method=method) ** 2)

    @jax.jit
    def derivatives(x):
        gradient = jax.grad(value)
        forward = jax.jvp(gradient, (x,), (x,))[1]
        reverse = jax.grad(lambda z: jnp.vdot(gradient(z), x))(x)
        return gradient(x), forward, reverse, jax.jvp(value, (x,), (x,))[1]

    gradient, forward, reverse, along = (np.asarray(d, np.float64) for d in derivatives(x))
    # The value is quadratic in x: its gradient's derivative along x is the gradient itself.
    assert_close(forward, gradient)
    assert_close(reverse, gradient)
    np.testing.assert_allclose(along, np.vdot(gradient, x), rtol=1e-4)


def full_size_case(method):
    """Seven parts at the width of ResNet-50, as shapes: nothing is computed."""
    rows = [jax.ShapeDtypeStruct((8, 128, channels), jnp.float32) for channels in (2048, 57)]
    keys = jax.random.split(jax.random.key(0))
    sketches = make_sketch(keys[0], 2048, 4096), make_sketch(keys[1], 57, 4096)

    def apply(x, y):
        return compact_bilinear_parts(x, y, part_channels(), *sketches, method=method)

    return apply, rows


def residual_bytes(method):
    """Bytes kept from the forward for the backward pass."""
    apply, rows = full_size_case(method)
    backward = jax.eval_shape(lambda x, y: jax.vjp(apply, x, y)[1], *rows)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


@pytest.mark.parametrize("method", METHODS[1:])
def test_little_more_than_the_inputs_is_kept_for_the_backward_pass(method):
    inputs = 8 * 128 * (2048 + 57) * 4
    kept = residual_bytes(method)
    assert inputs <= kept < 1.01 * inputs
    assert kept < residual_bytes("textbook") / 5


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_scattered_on_a_gpu(method):
    apply, rows = full_size_case(method)
    step = jax.jit(jax.value_and_grad(lambda x, y: jnp.sum(apply(x, y) ** 2), argnums=(0, 1)))
    programs = {
        platform: step.trace(*rows).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    # A GPU adds scattered numbers in no fixed order: no two runs would be the same.
    assert "stablehlo.scatter" in programs["cpu"]
    assert "stablehlo.gather" in programs["cuda"]
    assert "stablehlo.scatter" not in programs["cuda"]


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_features_are_pooled_in_float32(method):
    x, y, sketch_x, sketch_y = make_case(64)
    x, y = jnp.bfloat16(x), jnp.bfloat16(y)
    found = pool(x, y, sketch_x, sketch_y, method=method)
    assert found.dtype == jnp.float32
    assert_close(found, explicit(x, y, sketch_x, sketch_y), 1e-2)
    gradient = jax.grad(lambda x: pool(x, y, sketch_x, sketch_y, method=method).sum())(x)
    assert gradient.dtype == jnp.bfloat16
    assert np.isfinite(np.asarray(gradient, np.float32)).all()


def test_inner_products_estimate_those_of_the_full_bilinear_feature_without_bias():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 3, 6)), rng.normal(size=(2, 3, 5))
    # Two images that are alike, so that the inner product stands out from its noise.
    x[1], y[1] = x[0] + 0.3 * x[1], y[0] + 0.3 * y[1]
    x, y = x.astype(np.float32), y.astype(np.float32)
    full = np.einsum("bpi,bpj->bij", x, y).reshape(2, -1) / 3
    true = full[0] @ full[1]

    @jax.jit
    @jax.vmap
    def estimate(key):
        key_x, key_y = jax.random.split(key)
        z = pool(x, y, make_sketch(key_x, 6, 32), make_sketch(key_y, 5, 32))
        return z[0] @ z[1], z[0] @ z[0]

    for estimates, expected in zip(
        estimate(jax.random.split(jax.random.key(0), 2000)), (true, full[0] @ full[0]), strict=True
    ):
        error = np.std(estimates) / np.sqrt(len(estimates))
        assert 0 < error < 0.02 * abs(expected)
        assert abs(np.mean(estimates) - expected) < 4 * error


def test_a_larger_sketch_is_less_noisy():
    x, y, *_ = make_case(batch=1)
    norm = np.sum(np.einsum("bpi,bpj->bij", x, y) ** 2) / x.shape[1] ** 2

    def spread(size):
        def estimate(key):
            key_x, key_y = jax.random.split(key)
            sketches = make_sketch(key_x, 24, size), make_sketch(key_y, 7, size)
            return jnp.sum(pool(x, y, *sketches) ** 2)

        estimates = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), 200))
        return np.std(estimates) / norm

    # The deviation falls as one over the root of the size.
    assert 2 < spread(16) / spread(256) < 8


@pytest.mark.parametrize("method", METHODS)
def test_parts_are_poolings_of_the_channels_they_weigh(method):
    x, y, sketch_x, sketch_y = make_case(33)
    parts = np.zeros((3, 7), np.float32)
    parts[0, :3], parts[1, 2:], parts[2] = 1, 1, 1
    found = pool_parts(x, y, parts, sketch_x, sketch_y, method=method)
    assert found.shape == (2, 3, 33)
    for part, mask in enumerate(parts):
        assert_close(found[:, part], explicit(x, y * mask, sketch_x, sketch_y))


def test_what_does_not_fit_is_refused():
    x, y, sketch_x, sketch_y = make_case(33)
    other_size = make_sketch(jax.random.key(0), 7, 32)
    with pytest.raises(InputError, match=r"33.*32|32.*33"):
        compact_bilinear(x, y, sketch_x, other_size)
    with pytest.raises(InputError, match=r"24.*7|7.*24"):
        compact_bilinear(x, y, sketch_y, sketch_x)
    with pytest.raises(InputError, match=r"5.*6|6.*5"):
        compact_bilinear(x, y[:, :5], sketch_x, sketch_y)
    with pytest.raises(InputError, match="conv"):
        compact_bilinear(x, y, sketch_x, sketch_y, method="conv")


@pytest.mark.parametrize("method", METHODS)
def test_shapes_that_would_be_pooled_over_something_else_are_refused(method):
    x, y, sketch_x, sketch_y = make_case(33, batch=6)
    parts = np.ones((3, 7), np.float32)
    wrong = [
        (x.reshape(6, 3, 2, 24), y.reshape(6, 3, 2, 7), parts),  # maps
        (x[0], y[0], parts),
        (x, y[:1], parts),
        (x, y[:, :1], parts),
        (x, y, parts[0]),
        (x, y, parts[:, :1]),
        (x, y[..., :1], parts),
        (x.tolist(), y, parts),
    ]
    for case in wrong:
        with pytest.raises(InputError, match=r"needed x \[batch, positions, channels_x\].*; got "):
            compact_bilinear_parts(*case, sketch_x, sketch_y, method=method)
    for x, y, _ in (wrong[0], wrong[3]):
        with pytest.raises(InputError, match="needed x"):
            pool(x, y, sketch_x, sketch_y, method=method)


SIGNS = np.array([1, -1, 1], np.int8)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ((np.array([0, 4, 1]), SIGNS, 4), "bins of a sketch of size 4 go from 0 to 3, got 4"),
        ((np.array([0, -1, 1]), SIGNS, 4), "go from 0 to 3, got -1"),
        ((np.array([0, 3, 1]), SIGNS[:2], 4), "bins int .channels., signs .channels.; got int64"),
        ((np.array([0, 3, 1]), SIGNS[:1], 4), "needed bins"),
        ((np.array([0.0, 3, 1]), SIGNS, 4), "needed bins int"),
        ((np.array([[0, 3, 1]]), SIGNS, 4), "needed bins int"),
        ((np.array([0, 3, 1]), SIGNS * 2, 4), "signs of a sketch are"),
        ((np.array([0, 3, 1]), SIGNS * 0, 4), "signs of a sketch are"),
        ((np.array([3, 3, 1]), SIGNS, 4, 1), "a sketch of load 1 has 2 channels in one bin"),
    ],
)
def test_tables_that_would_lose_channels_are_refused(tables, message):
    broken, good = CountSketch(*tables), CountSketch(np.array([0, 3, 1]), SIGNS, 4)
    x = np.ones((2, 5, 3), np.float32)
    with pytest.raises(InputError, match=message):
        count_sketch(x, broken)
    for sketches in ((broken, good), (good, broken)):
        with pytest.raises(InputError, match=r"needed|sketch"):
            compact_bilinear(x, x, *sketches, method="roll")


@pytest.mark.parametrize("wrong", [0, -1, 2.5, 2**33, float("nan")])
def test_a_sketch_of_an_impossible_size_is_not_drawn(wrong):
    for channels, size, name in ((wrong, 8, "channels"), (8, wrong, "size")):
        with pytest.raises(InputError, match=f"{name} of a sketch is a whole number from 1"):
            make_sketch(jax.random.key(0), channels, size)


@pytest.mark.parametrize("method", METHODS)
def test_a_feature_that_is_not_a_number_shows_in_its_image_and_no_other(method):
    x, y, sketch_x, sketch_y = make_case(33)
    x[0, 2, 5] = np.nan
    parts = np.zeros((2, 7), np.float32)
    parts[0, :3], parts[1, 3:] = 1, 1

    def total(y):
        found = compact_bilinear_parts(x, y, parts, sketch_x, sketch_y, method=method)
        return found.sum(), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(y)
    np.testing.assert_array_equal(np.isnan(found).any(axis=-1), [[True, True], [False, False]])
    np.testing.assert_array_equal(np.isnan(gradient).any(axis=(1, 2)), [True, False])


def test_a_channel_that_is_not_a_number_shows_in_its_bin():
    sketch = CountSketch(np.array([0, 3, 1, 0]), np.ones(4), 4)
    found = count_sketch(jnp.array([1.0, jnp.nan, 2.0, 3.0]), sketch)
    np.testing.assert_array_equal(found, [4, 2, 0, np.nan])
