import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.loss import (
    attribute_cross_entropy,
    focal_triplet,
    hardest_triplets,
    pairwise_distance,
    pose_error,
    triplet,
)

MININGS = ("hard", "all")

# One compilation per case is quicker than one per operation.
OPTIONS = ("margin", "bound", "gamma", "mining")
compiled = jax.jit(focal_triplet, static_argnames=OPTIONS)


def loop_focal_triplet(
    embeddings, identities, margin=0.5, bound=0.01, gamma=2.0, mining="hard", focal=True
):
    """Equation (10) anchor by anchor, in float64."""
    x = np.asarray(embeddings, np.float64)
    losses = []
    for a in range(len(x)):
        positives = [i for i in range(len(x)) if identities[i] == identities[a] and i != a]
        negatives = [i for i in range(len(x)) if identities[i] != identities[a]]
        if not positives or not negatives:
            losses.append(0.0)
            continue
        d_aps = [np.sqrt(np.sum((x[a] - x[p]) ** 2)) for p in positives]
        d_ans = [np.sqrt(np.sum((x[a] - x[n]) ** 2)) for n in negatives]
        if mining == "hard":
            d_aps, d_ans = [max(d_aps)], [min(d_ans)]
        terms = []
        for d_ap in d_aps:
            for d_an in d_ans:
                term = max(d_ap - d_an + margin, 0)
                if focal:
                    term *= max(d_ap - d_an + 1, 1) ** gamma
                    term += max(d_ap - bound, 0)
                terms.append(term)
        losses.append(np.mean(terms))
    return np.array(losses)


def central_differences(function, x, step=1e-6):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


def random_batch(seed, batch=8, dim=4, people=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, dim)) * 0.6, rng.integers(0, people, batch)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("seed", range(3))
def test_focal_triplet_equals_a_loop_over_the_anchors(mining, seed):
    x, identities = random_batch(seed, batch=12)
    options = {"margin": 0.3, "bound": 0.4, "gamma": 1.5, "mining": mining}
    found = compiled(jnp.float32(x), identities, **options)
    assert found.shape == (12,)
    np.testing.assert_allclose(found, loop_focal_triplet(x, identities, **options), rtol=1e-5)
    np.testing.assert_allclose(
        compiled(jnp.float32(x), identities, mining=mining),
        loop_focal_triplet(x, identities, mining=mining),
        rtol=1e-5,
    )


# Of eight points on the unit circle, with the defaults; as the first version gave them.
VALUES = {
    "hard": [11.98589, 6.802221, 4.240974, 3.412763, 12.83305, 20.44551, 12.5239, 6.311361],
    "all": [3.0116, 2.742064, 2.367039, 1.603366, 6.632999, 7.319799, 3.607506, 2.172036],
}


@pytest.mark.parametrize("mining", MININGS)
def test_focal_triplet_gives_what_it_always_gave(mining):
    place = np.arange(8)
    x = np.stack([np.cos(place**2), np.sin(place**2)], axis=1).astype(np.float32)
    np.testing.assert_allclose(
        compiled(jnp.asarray(x), place // 2 % 3, mining=mining), VALUES[mining], rtol=2e-6
    )


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("seed", [3, 4])
def test_the_gradient_of_focal_triplet_equals_finite_differences(mining, seed):
    x, identities = random_batch(seed)
    weights = np.random.default_rng(seed).normal(size=len(x))
    expected = central_differences(
        lambda x: weights @ loop_focal_triplet(x, identities, mining=mining), x
    )
    with jax.enable_x64(True):
        found = jax.jit(jax.grad(lambda x: weights @ focal_triplet(x, identities, mining=mining)))(
            x
        )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mining", MININGS)
def test_triplet_is_the_plain_hinge(mining):
    x, identities = random_batch(5)
    np.testing.assert_allclose(
        triplet(jnp.float32(x), identities, margin=0.7, mining=mining),
        loop_focal_triplet(x, identities, margin=0.7, mining=mining, focal=False),
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("mining", MININGS)
def test_a_triplet_one_too_far_pulls_with_11_and_pushes_with_10(mining):
    # d_ap = 2 and d_an = 1, so D = 1, lambda = 2: 4 * 1.5 + 1.99; 4 + 2 * 2 * 1.5 + 1 = 11.
    x = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])

    @jax.jit
    def loss(x):
        return focal_triplet(x, jnp.array([1, 1, 2]), mining=mining)[0]

    assert loss(x) == pytest.approx(7.99, rel=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.grad(loss))(x), [[-11, 10], [11, 0], [0, -10]], rtol=1e-5
    )


def test_gamma_zero_weighs_all_triplets_alike():
    x, identities = random_batch(6)
    x = jnp.float32(x)
    far = compiled(x, identities, gamma=0.0, bound=100.0)
    np.testing.assert_allclose(far, triplet(x, identities), rtol=1e-6)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize(
    ("rows", "identities", "expected"),
    [
        # Collapsed: each triplet costs the margin, nothing is further than the bound.
        ("equal", [1, 1, 2, 2], [0.5] * 4),
        # The two anchors of persons 2 and 3 have no positive.
        ("far", [1, 1, 2, 3], [1.0 - 0.01, 1.0 - 0.01, 0, 0]),
        ("far", [1, 1, 1, 1], [0] * 4),
        ("equal", [1, 1, 1, 1], [0] * 4),
        ("far", [1, 2, 3, 4], [0] * 4),
        ("equal", [1, 2, 3, 4], [0] * 4),
    ],
)
def test_degenerate_batches_have_finite_losses_and_gradients(mining, rows, identities, expected):
    # Far: persons stand 10 apart, the first two rows 1 apart.
    far = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 10.0], [0.0, 20.0]], np.float32)
    x = far if rows == "far" else np.ones_like(far)

    def losses(x):
        return compiled(x, jnp.array(identities), mining=mining)

    np.testing.assert_allclose(losses(x), expected, rtol=1e-5)
    gradients = jax.jit(jax.jacrev(losses))(x)
    assert np.isfinite(gradients).all()
    assert not gradients[np.array(expected) == 0].any()


@pytest.mark.parametrize("mining", MININGS)
def test_a_batch_of_one_costs_nothing(mining):
    assert compiled(jnp.ones((1, 3)), jnp.array([1]), mining=mining).tolist() == [0]


@pytest.mark.parametrize("mining", MININGS)
def test_losses_move_with_their_rows(mining):
    x, identities = random_batch(7)
    order = np.random.default_rng(7).permutation(len(x))
    x = jnp.float32(x)
    np.testing.assert_allclose(
        compiled(x[order], identities[order], mining=mining),
        compiled(x, identities, mining=mining)[order],
        rtol=1e-5,
    )


@pytest.mark.parametrize("mining", MININGS)
def test_jit_and_vmap_change_nothing(mining):
    batches = [random_batch(seed) for seed in (8, 9, 10)]
    x = jnp.float32([rows for rows, _ in batches])
    identities = jnp.array([names for _, names in batches])

    def losses(x, identities):
        return focal_triplet(x, identities, mining=mining)

    expected = np.stack([losses(*batch) for batch in zip(x, identities, strict=True)])
    np.testing.assert_allclose(jax.jit(losses)(x[0], identities[0]), expected[0], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(losses))(x, identities), expected, rtol=1e-6)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("function", [focal_triplet, triplet])
def test_four_devices_mine_like_one(function, mining):
    assert jax.local_device_count() >= 4, "conftest.py asks XLA for four devices"
    x, identities = random_batch(11, batch=16, people=5)
    x = jnp.float32(x)

    def total(x, identities, axis_name=None):
        losses = function(x, identities, mining=mining, axis_name=axis_name)
        return losses.sum(), losses

    expected_gradient, expected = jax.jit(jax.grad(total, has_aux=True))(x, identities)
    on_devices = jax.pmap(
        lambda x, names: jax.grad(total, has_aux=True)(x, names, "devices"),
        axis_name="devices",
        devices=jax.local_devices()[:4],
    )
    gradient, losses = on_devices(x.reshape(4, 4, -1), identities.reshape(4, 4))
    np.testing.assert_allclose(losses.reshape(-1), expected, rtol=1e-5)
    # An image is mined by anchors of every device, and each must move it.
    np.testing.assert_allclose(gradient.reshape(x.shape), expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mining", MININGS)
def test_weights_get_the_same_gradient_from_four_devices_as_from_one(mining):
    x, identities = random_batch(12, batch=16, people=5)
    weights = jnp.float32(np.random.default_rng(12).normal(size=(4, 3)))

    def loss(weights, x, identities, axis_name=None):
        losses = focal_triplet(x @ weights, identities, mining=mining, axis_name=axis_name)
        return losses.mean()

    def step(weights, x, identities):
        gradient = jax.grad(loss)(weights, x, identities, "devices")
        return jax.lax.pmean(gradient, "devices")

    x = jnp.float32(x)
    expected = jax.jit(jax.grad(loss))(weights, x, identities)
    found = jax.pmap(
        step,
        axis_name="devices",
        in_axes=(None, 0, 0),
        out_axes=None,
        devices=jax.local_devices()[:4],
    )(weights, x.reshape(4, 4, -1), identities.reshape(4, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_an_unknown_mining_is_refused():
    with pytest.raises(InputError, match="soft"):
        focal_triplet(jnp.ones((2, 2)), jnp.array([1, 1]), mining="soft")


def test_pairwise_distance_of_a_right_triangle_is_euclidean():
    x, y = jnp.array([[0.0, 0.0], [3.0, 0.0]]), jnp.array([[3.0, 4.0], [0.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(pairwise_distance(x, y), [[5, 0, 3], [4, 3, 0]], atol=1e-5)


def test_pairwise_distance_is_accurate_for_rows_that_are_almost_equal():
    rng = np.random.default_rng(0)
    x = rng.normal(100, 1, (5, 256)).astype(np.float32)
    y = (x + rng.normal(0, 1e-3, x.shape)).astype(np.float32)
    expected = np.sqrt(np.sum((x[:, None].astype(np.float64) - y) ** 2, axis=-1))
    np.testing.assert_allclose(pairwise_distance(x, y), expected, rtol=1e-5)


def test_pairwise_distance_has_a_finite_gradient_at_zero_and_the_right_one_elsewhere():
    x = jnp.array([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]])
    gradient = jax.grad(lambda x: pairwise_distance(x, x).sum())(x)
    # Rows 0 and 1 are pulled to row 2 along (3, 4) / 5, counted from both sides.
    np.testing.assert_allclose(gradient, [[-1.2, -1.6], [-1.2, -1.6], [2.4, 3.2]], rtol=1e-5)


def test_half_precision_embeddings_are_measured_in_float32():
    x, identities = random_batch(13)
    half = jnp.bfloat16(x)
    found = focal_triplet(half, identities)
    assert found.dtype == jnp.float32
    expected = loop_focal_triplet(np.asarray(half, np.float64), identities)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_attribute_cross_entropy_is_the_negative_log_probability_and_ignores_the_unlabelled():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])) + 5
    labels = jnp.array([1, 2, -1])
    found = attribute_cross_entropy(logits, labels)
    np.testing.assert_allclose(found, [np.log(4), -np.log(0.7), 0], rtol=1e-5)
    gradient = jax.grad(lambda logits: attribute_cross_entropy(logits, labels).sum())(logits)
    # Softmax minus one-hot; nothing for the unlabelled.
    np.testing.assert_allclose(
        gradient, [[0.5, -0.75, 0.25], [0.1, 0.2, -0.3], [0, 0, 0]], rtol=1e-4, atol=1e-6
    )


def test_attribute_cross_entropy_is_finite_for_very_sure_logits():
    logits = jnp.array([[1e4, -1e4], [1e4, -1e4], [1e4, -1e4]])

    def losses(logits):
        return attribute_cross_entropy(logits, jnp.array([0, 1, -1]))

    np.testing.assert_allclose(losses(logits), [0, 2e4, 0])
    assert np.isfinite(jax.jit(jax.jacrev(losses))(logits)).all()


def test_the_gradient_of_attribute_cross_entropy_has_no_scatter():
    labels = jnp.array([0, 1])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(attribute_cross_entropy(x, labels))))
    assert "scatter" not in gradient.lower(jnp.ones((2, 3))).as_text()


def test_a_label_beyond_the_classes_is_not_a_number():
    assert np.isnan(attribute_cross_entropy(jnp.zeros((1, 3)), jnp.array([3]))).all()


def test_pose_error_is_half_the_weighted_sum_of_squares_of_each_image():
    prediction = jnp.zeros((2, 2, 1, 3)).at[0, 0, 0].set(jnp.array([1.0, 2.0, 3.0]))
    target = jnp.zeros((2, 2, 1, 3)).at[0, 1, 0, 0].set(4.0).at[1].set(1.0)
    weight = jnp.ones((2, 2, 1, 1)).at[0, 1].set(0.5)
    # First image: (1 + 4 + 9) / 2 + 0.5 * 16 / 2; second: six ones.
    np.testing.assert_allclose(pose_error(prediction, target, weight), [11, 3])


def test_pose_error_ignores_what_is_masked():
    prediction = jnp.full((1, 2, 2, 1), 7.0)
    weight = jnp.array([[1.0, 0.0], [0.0, 0.0]])[None, ..., None]
    gradient = jax.grad(lambda p: pose_error(p, jnp.zeros_like(p), weight).sum())(prediction)
    np.testing.assert_allclose(gradient[0, ..., 0], [[7, 0], [0, 0]])


X, NAMES = np.ones((8, 3), np.float32), np.arange(8) // 2
MAPS = np.ones((8, 4, 2, 3), np.float32)
COLUMN, ONE, FLOATS, ONE_HOT = NAMES[:, None], NAMES[:1], NAMES / 1, np.eye(8, 4)


@pytest.mark.parametrize(
    ("call", "came"),
    [
        *((f, x) for f in (focal_triplet, triplet, hardest_triplets) for x in (
            (X, COLUMN), (X, ONE), (X, FLOATS), (X, ONE_HOT), (X, NAMES > 1), (X, NAMES.tolist()),
            (X[0], NAMES), (X[None], NAMES), (np.ma.array(X, mask=X > 0), NAMES),
        )),
        *((pairwise_distance, x) for x in ((X, X[:, :1]), (X, X[0]), (X[None], X[None]))),
        *((attribute_cross_entropy, (X, x)) for x in (COLUMN, ONE, FLOATS, ONE_HOT, NAMES[0])),
        (attribute_cross_entropy, (X[0], NAMES)),
        (attribute_cross_entropy, (MAPS, NAMES)),
        (pose_error, (MAPS, MAPS[:1], MAPS)),
        (pose_error, (MAPS, MAPS[..., :1], MAPS)),
        (pose_error, (MAPS[0], MAPS[0], MAPS[0])),
        (pose_error, (MAPS, MAPS, MAPS[..., 0])),
        (pose_error, (MAPS, MAPS, MAPS[:2])),
    ],
)  # fmt: skip
def test_what_would_broadcast_to_something_unmeant_is_refused(call, came):
    with pytest.raises(InputError, match=r"needed .*\[.*\]; got "):
        call(*came)


@pytest.mark.parametrize("option", ["margin", "bound", "gamma"])
def test_an_option_for_each_anchor_is_refused(option):
    with pytest.raises(InputError, match=r"margin \[\].*; got .*float64 \[8, 1\]"):
        focal_triplet(X, NAMES, **{option: np.ones((8, 1))})
    for number in (1, 1.0, jnp.float32(1)):
        assert focal_triplet(X, NAMES, **{option: number}).shape == (8,)


def test_shapes_are_refused_while_a_program_is_traced():
    for transformed in (jax.jit(focal_triplet), jax.grad(lambda x, y: focal_triplet(x, y).sum())):
        with pytest.raises(InputError, match=r"got float32 \[8, 3\], int32 \[8, 1\]"):
            transformed(jnp.array(X), jnp.array(COLUMN, jnp.int32))
    shapes = jax.eval_shape(jax.vmap(focal_triplet), MAPS[:, 0], np.ones((8, 2), int))
    assert shapes.shape == (8, 2)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("function", [focal_triplet, triplet])
@pytest.mark.parametrize("rows", [[2], range(8)])
def test_one_row_that_is_not_a_number_shows_in_every_anchor_that_has_a_triplet(
    function, mining, rows
):
    x, _ = random_batch(14)
    x[list(rows), 1] = np.nan
    identities = np.array([0, 0, 1, 1, 2, 2, 3, 4])

    def losses(x):
        return function(x, identities, mining=mining)

    found, gradient = jax.jit(lambda x: (losses(x), jax.grad(lambda x: losses(x).sum())(x)))(x)
    np.testing.assert_array_equal(np.isnan(found), identities < 3)
    assert np.isnan(gradient).any(axis=1).all()


def test_distances_to_a_row_that_is_not_a_number_are_none_either():
    x, _ = random_batch(15)
    x[2, 0] = np.nan
    among = np.arange(8) == 2

    def total(x):
        found = pairwise_distance(x, x)
        return found[2].sum(), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(jnp.float32(x))
    np.testing.assert_array_equal(np.isnan(found), among | among[:, None])
    assert np.isnan(gradient[2]).all()


def test_a_logit_that_is_not_a_number_shows_in_the_loss_whichever_class_has_it():
    logits = np.array([[np.nan, 0], [0, np.nan], [0, 0]], np.float32)

    def total(logits):
        found = attribute_cross_entropy(logits, np.array([1, 1, 0]))
        return found.sum(), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(logits)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])
    assert np.isnan(gradient[:2]).all()


def test_a_prediction_that_is_not_a_number_shows_even_where_nothing_is_known():
    prediction = np.zeros((2, 2, 1, 1), np.float32)
    prediction[0, 0] = np.nan
    found = pose_error(prediction, np.zeros_like(prediction), np.zeros_like(prediction))
    np.testing.assert_array_equal(np.isnan(found), [True, False])
    ones = np.ones((1, 2, 2, 1), np.float32)
    assert pose_error(ones, 0 * ones, 1.0) == 2  # a number weighs all alike


@pytest.mark.parametrize("shares", [None, (0.5, 0.0, 0.25, 0.125, 0.125)])
def test_smoothed_labels_give_the_cross_entropy_to_the_smoothed_distribution(shares):
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 3, (6, 5)), np.array([0, 4, 2, 2, -1, 1])
    spread = np.full(5, 1 / 5) if shares is None else np.array(shares)
    found = attribute_cross_entropy(
        jnp.asarray(logits),
        jnp.asarray(labels),
        smoothing=0.1,
        shares=None if shares is None else jnp.array(shares),
    )
    for row, label, value in zip(logits, labels, found, strict=True):
        target = 0.1 * spread
        target[label] += 0.9
        expected = -sum(
            t * (x - np.log(sum(np.exp(row)))) for t, x in zip(target, row, strict=True)
        )
        np.testing.assert_allclose(value, 0 if label < 0 else expected, rtol=1e-5)


@pytest.mark.parametrize("shares", [np.ones(1), np.ones(8), np.ones((8, 3))])
def test_shares_are_one_for_each_class(shares):
    with pytest.raises(InputError, match=r"needed logits \[batch, classes\], shares \[classes\]"):
        attribute_cross_entropy(X, NAMES, smoothing=0.1, shares=shares)


def test_a_share_that_is_no_number_shows():
    shares = jnp.array([0.5, jnp.nan, 0.5])
    found = attribute_cross_entropy(X, np.zeros(8, int), smoothing=0.1, shares=shares)
    assert np.isnan(found).all()


def test_a_class_without_a_share_may_be_impossible():
    def total(logits):
        padded = jnp.pad(logits, ((0, 0), (0, 1)), constant_values=-jnp.inf)
        shares = jnp.array([0.75, 0.25, 0.0])
        return attribute_cross_entropy(padded, jnp.array([1]), smoothing=0.2, shares=shares)[0]

    value, gradient = jax.value_and_grad(total)(jnp.zeros((1, 2)))
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    # Softmax less target: 0.2 * 0.75, and 0.8 + 0.2 * 0.25.
    np.testing.assert_allclose(gradient[0], [0.5 - 0.15, 0.5 - 0.85], rtol=1e-5)
