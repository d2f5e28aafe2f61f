"""The fused vectors, computed again entry by entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.labels.skeleton import PARTS, part_channels
from fgsam_jax.models.fusion import Fusion

SIZE, CHANNELS = 64, 5
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(2, 3, (3, 2, 2, CHANNELS)).astype(np.float32)
POSE = RANDOM.uniform(0, 1, (3, 4, 4, 57)).astype(np.float32)


def expected(constants, centred):
    """Each product of a channel with a channel into its bin, position by position."""
    pose = POSE.reshape(3, 2, 2, 2, 2, 57).mean((2, 4))
    axes = (0, 1, 2)
    features = (FEATURES - FEATURES.mean(axes)) / np.sqrt(FEATURES.var(axes) + 1e-5)
    middle = pose.mean(axes) if centred else 0
    pose = (pose - middle) / np.sqrt(((pose - middle) ** 2).mean(axes) + 1e-5)
    found = np.zeros((3, len(PARTS), SIZE))
    for part, mask in enumerate(np.asarray(part_channels())):
        for i in range(CHANNELS):
            for j in np.flatnonzero(mask):
                products = (features[..., i] * pose[..., j]).mean((1, 2))
                sign = constants["features_signs"][i] * constants["pose_signs"][j]
                at = (constants["features_bins"][i] + constants["pose_bins"][j]) % SIZE
                found[:, part, at] += sign * products
    found = np.sign(found) * (np.sqrt(np.abs(found) + 1e-3) - 1e-3**0.5)
    return found / np.linalg.norm(found, axis=-1, keepdims=True) * SIZE**0.5


@pytest.mark.parametrize("centred", [True, False])
def test_fused_vectors_are_sketches_of_scaled_features_and_pose(centred):
    fusion = Fusion(SIZE, centred=centred)
    variables = fusion.init(jax.random.key(0), FEATURES, POSE, train=False)
    found, changed = fusion.apply(
        variables, jnp.asarray(FEATURES), jnp.asarray(POSE), train=True, mutable=["batch_stats"]
    )
    constants = jax.tree.map(np.asarray, variables["constants"])
    np.testing.assert_allclose(found, expected(constants, centred), atol=2e-5)
    mean = changed["batch_stats"]["pose_norm"]["mean"]
    assert np.all(mean > 0.01) if centred else np.allclose(mean, 0, atol=1e-6)


def test_pose_that_is_not_centred_is_weighed_by_the_running_mean_square_in_use():
    fusion = Fusion(SIZE, centred=False)
    variables = fusion.init(jax.random.key(0), FEATURES, POSE, train=False)
    one = fusion.apply(variables, jnp.asarray(FEATURES), jnp.asarray(POSE), train=False)
    stats = jax.tree.map(lambda x: x, variables["batch_stats"])
    stats["pose_norm"]["var"] = 4 * jnp.ones(57)
    two = fusion.apply(
        {**variables, "batch_stats": stats},
        jnp.asarray(FEATURES),
        2 * jnp.asarray(POSE),
        train=False,
    )
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
