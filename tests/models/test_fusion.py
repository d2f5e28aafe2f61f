"""The fused vectors, computed again entry by entry."""

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.labels.skeleton import PARTS, part_channels
from fgsam_jax.models.fusion import Fusion

SIZE, CHANNELS = 64, 5
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(2, 3, (3, 2, 2, CHANNELS)).astype(np.float32)
POSE = RANDOM.uniform(0, 1, (3, 4, 4, 57)).astype(np.float32)


def expected(constants):
    """Each product of a channel with a channel into its bin, position by position."""
    pose = POSE.reshape(3, 2, 2, 2, 2, 57).mean((2, 4))
    axes = (0, 1, 2)
    features = (FEATURES - FEATURES.mean(axes)) / np.sqrt(FEATURES.var(axes) + 1e-5)
    pose = (pose - pose.mean(axes)) / np.sqrt(pose.var(axes) + 1e-5)
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


def test_fused_vectors_are_sketches_of_normalised_features_and_pose():
    fusion = Fusion(SIZE)
    variables = fusion.init(jax.random.key(0), FEATURES, POSE, train=False)
    found, _ = fusion.apply(
        variables, jnp.asarray(FEATURES), jnp.asarray(POSE), train=True, mutable=["batch_stats"]
    )
    constants = jax.tree.map(np.asarray, variables["constants"])
    np.testing.assert_allclose(found, expected(constants), atol=2e-5)
