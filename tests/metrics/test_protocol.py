"""The rules against the plain sentence that each is, image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsam_jax.errors import InputError
from fgsam_jax.metrics import SAME_CAMERA, camera_rule
from fgsam_jax.metrics.protocol import Protocol


def ranked(query, image, same_camera):
    """Whether (identity, camera) of a gallery image is in the ranking of that of a query."""
    same_person, own_camera = query[0] == image[0] != 0, query[1] == image[1]
    dropped = {
        "keep": False,
        "drop_all": own_camera,
        "drop_same_identity": own_camera and same_person,
    }
    return image[0] != -1 and not dropped[same_camera]


images = st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 3)), min_size=1, max_size=12)


@settings(deadline=None)
@given(queries=images, gallery=images, same_camera=st.sampled_from(SAME_CAMERA))
def test_candidates_are_all_but_junk_and_what_the_camera_rule_drops(queries, gallery, same_camera):
    protocol = Protocol(
        *zip(*queries, strict=True), *zip(*gallery, strict=True), same_camera=same_camera
    )
    for row, query in enumerate(queries):
        candidates, positive = protocol.candidates(row)
        expected = [n for n, image in enumerate(gallery) if ranked(query, image, same_camera)]
        assert candidates.tolist() == expected
        assert positive.tolist() == [gallery[n][0] == query[0] != 0 for n in expected]
        assert protocol.has_positive()[row] == positive.any()


def test_the_camera_rule_follows_what_is_known():
    assert camera_rule(np.array([2]), np.array([1, 3])) == "drop_same_identity"
    assert camera_rule(np.array([0]), np.array([0, 0])) == "keep"
    with pytest.raises(InputError, match="1 of 3 images of query and gallery have no camera"):
        camera_rule(np.array([2]), np.array([1, 0]))
    with pytest.raises(InputError, match="gallery_cameras must be a row of integers"):
        camera_rule(np.array([2]), np.array([1.0, np.nan]))
