import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fgsam_jax.data.datasets.coco_annotations import loss_mask
from fgsam_jax.data.datasets.coco_regions import region
from fgsam_jax.errors import InputError

HEIGHT, WIDTH = 23, 31
PIXELS = HEIGHT * WIDTH


def runs(counts, size=(HEIGHT, WIDTH)):
    return {"size": list(size), "counts": counts}


@pytest.mark.parametrize("seed", range(8))
def test_runs_as_text_are_the_same_as_runs_as_numbers(seed):
    rng = np.random.default_rng(seed)
    pixels = np.asfortranarray(rng.random((HEIGHT, WIDTH)) < rng.choice([0.02, 0.5, 0.98]))
    text = coco_mask.encode(pixels.view(np.uint8))["counts"]
    np.testing.assert_array_equal(region(runs(text.decode()), HEIGHT, WIDTH), pixels)

    flat = pixels.T.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff([0, *changes, PIXELS]).tolist()
    np.testing.assert_array_equal(region(runs(counts), HEIGHT, WIDTH), pixels)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (runs([3]), "do not add up to the 713 pixels"),
        (runs([PIXELS, 1]), "do not add up"),
        (runs([-1, PIXELS + 1]), "do not add up"),
        (runs([2**64, PIXELS - 2**64]), "do not add up"),
        (runs([3], (2**31, 2**31)), r"of the size \[2147483648, 2147483648\], needed \[23, 31\]"),
        (runs([PIXELS], (WIDTH, HEIGHT)), "of the size"),
        (runs([PIXELS], ("23", "31")), "of the size"),
        ({"counts": [PIXELS]}, "of the size None"),
        (runs([PIXELS + 0.0]), "no whole numbers"),
        (runs([[PIXELS]]), "no whole numbers"),
        (runs(None), "no whole numbers"),
        (runs("zzz"), "no text that COCO knows"),
        (runs("\0"), "no text that COCO knows"),
        (runs("é"), "no text that COCO knows"),
        (runs("o" * 100_000), "no text that COCO knows"),
        (runs("o"), "end inside a number"),
        (runs(""), "do not add up"),
        ("text", "neither lists of numbers nor runs"),
        ([1, 2, 3, 4, 5, 6], "neither lists of numbers nor runs"),
        ([[[1, 2], [3, 4], [5, 6]]], "neither lists of numbers nor runs"),
        ([["1"] * 6], "neither lists of numbers nor runs"),
        ([[1, 2, 3, 4, 5, float("nan")]], "neither lists of numbers nor runs"),
        ([[1, 2, 3, 4, 5, 1e9]], "neither lists of numbers nor runs"),
        ([[1, 2, 3, 4, 5, 6, 7]], "an x without a y"),
        ([[0, 0, 1e6, 1e6, 0, 5]], "the outline of its segmentation is 2,000,005 pixels long"),
        ([[0, 0, 30, 20, 0, 20]] * 300, "the outline of its segmentation is"),
    ],
)
def test_a_segment_that_cannot_be_of_the_image_is_refused_and_named(segmentation, message):
    crowd = {"id": 7, "iscrowd": 1, "num_keypoints": 0, "segmentation": segmentation}
    with pytest.raises(InputError, match=f"annotation 7: .*{message}"):
        loss_mask([crowd], HEIGHT, WIDTH)


def test_corners_outside_of_the_image_are_no_mistake():
    assert region([[-5, -5, 40, -5, 40, 40, -5, 40]], HEIGHT, WIDTH).all()
