import functools

import jax
import numpy as np
import pytest
from tiny import HEIGHT, WIDTH, random_batch

from fgsam_jax.data.augment import MEAN_COLOUR, augment, random_crop, random_erasing
from fgsam_jax.runtime.distributed import AXIS

PAD = 5
KEY = jax.random.key(5)


@functools.cache
def cropped():
    """A batch, the same after `random_crop`, and what each example was shifted by, (down, right).

    The shift is found by trying all of them: the padded image is cut at one place alone.
    """
    batch = random_batch(0, 32)
    after = jax.device_get(jax.jit(functools.partial(random_crop, pad=PAD))(KEY, batch))
    shifts = []
    for image, found in zip(batch["image"], after["image"], strict=True):
        around = np.broadcast_to(MEAN_COLOUR, (HEIGHT + 2 * PAD, WIDTH + 2 * PAD, 3)).copy()
        around[PAD : PAD + HEIGHT, PAD : PAD + WIDTH] = image
        places = [
            (PAD - top, PAD - left)
            for top in range(2 * PAD + 1)
            for left in range(2 * PAD + 1)
            if np.array_equal(around[top : top + HEIGHT, left : left + WIDTH], found)
        ]
        assert len(places) == 1
        shifts += places
    return batch, after, np.array(shifts)


def test_a_crop_is_cut_from_the_padded_image_anywhere():
    _, _, shifts = cropped()
    assert (np.abs(shifts) <= PAD).all()
    assert all(len(np.unique(axis)) > PAD for axis in shifts.T)


def test_joints_move_with_the_crop():
    batch, after, shifts = cropped()
    moved = after["joints"] - batch["joints"]
    wanted = np.broadcast_to(shifts[:, None, None, ::-1], moved[..., :2].shape)
    np.testing.assert_allclose(moved[..., :2], wanted, atol=1e-5)
    np.testing.assert_array_equal(moved[..., 2], 0)


def test_a_cell_of_the_cropped_mask_is_the_mean_of_the_pixels_that_it_shows():
    batch, after, shifts = cropped()
    for mask, found, (down, right) in zip(batch["mask"], after["mask"], shifts, strict=True):
        for row, column in np.ndindex(found.shape):
            total = 0.0
            for y, x in np.ndindex(8, 8):
                y, x = 8 * row + y - down, 8 * column + x - right
                total += mask[y // 8, x // 8] if 0 <= y < HEIGHT and 0 <= x < WIDTH else 1
            np.testing.assert_allclose(found[row, column], total / 64, rtol=1e-5)


def erase(count, probability=0.5, height=HEIGHT, width=WIDTH):
    """Black images after erasing, and of each the rows and columns of what was filled."""
    black = {"image": np.zeros((count, height, width, 3), np.uint8)}
    images = np.asarray(jax.jit(functools.partial(random_erasing, probability=probability))(
        KEY, black
    )["image"])  # fmt: skip
    filled = (images == MEAN_COLOUR).all(-1)
    assert (filled | (images == 0).all(-1)).all()
    return images, filled


def test_what_is_erased_is_a_whole_rectangle_in_about_the_asked_share_of_images():
    _, filled = erase(400, 0.3)
    shares = filled.any((1, 2)).mean()
    assert abs(shares - 0.3) < 4 * (0.3 * 0.7 / 400) ** 0.5
    for gone in filled[filled.any((1, 2))]:
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        assert gone.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)


def slow_rectangle(random, height, width):
    """Random erasing as its paper writes it: try until a rectangle fits; top, left, tall, wide."""
    while True:
        area = random.uniform(0.02, 0.4) * height * width
        aspect = random.uniform(0.3, 1 / 0.3)
        tall, wide = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if tall < height and wide < width:
            return (
                random.integers(0, height - tall + 1),
                random.integers(0, width - wide + 1),
                tall,
                wide,
            )


def test_rectangles_are_drawn_as_the_paper_draws_them():
    count, height, width = 4000, 64, 32
    _, filled = erase(count, 1.0, height, width)
    rows, columns = filled.any(2), filled.any(1)
    found = np.stack([rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)], axis=1)
    random = np.random.default_rng(0)
    wanted = np.array([slow_rectangle(random, height, width) for _ in range(count)])
    for ours, theirs in zip(found.T, wanted.T, strict=True):
        # The largest distance of both distributions; 1.95 is passed once in 1000 draws.
        grid = np.arange(height)
        distance = np.abs((ours[:, None] <= grid).mean(0) - (theirs[:, None] <= grid).mean(0))
        assert distance.max() < 1.95 * (2 / count) ** 0.5


def test_what_is_erased_is_not_judged():
    batch = random_batch(0, 32)
    after = jax.device_get(jax.jit(functools.partial(random_erasing, probability=0.7))(KEY, batch))
    lost = 0
    for index in range(32):
        gone = (after["image"][index] != batch["image"][index]).any(-1)
        for row, column in np.ndindex(batch["mask"][index].shape):
            cell = gone[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            np.testing.assert_allclose(
                after["mask"][index, row, column],
                batch["mask"][index, row, column] * (1 - cell.mean()),
                rtol=1e-5,
                atol=1e-6,
            )
        old, new = batch["joints"][index], after["joints"][index]
        np.testing.assert_array_equal(new[..., :2], old[..., :2])
        for place in np.ndindex(old.shape[:2]):
            x, y = np.round(old[place][:2]).astype(int)
            hidden = x < WIDTH and y < HEIGHT and gone[y, x]
            assert new[place][2] == (-1 if hidden else old[place][2])
            lost += hidden
    assert lost > 30


@pytest.mark.parametrize("how", [{"pad": PAD, "erase": 0.5}, {"erase": 0.9}, {"pad": 1}])
def test_augmented_batches_on_four_devices_are_those_of_one(how):
    batch = random_batch(0, 16)
    whole = jax.jit(functools.partial(augment, flip=True, **how))(KEY, batch)
    parts = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), batch)
    spread = jax.pmap(
        functools.partial(augment, flip=True, axis_name=AXIS, **how), AXIS, in_axes=(None, 0)
    )(KEY, parts)
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), spread)
    # The mean of a cell is rounded by the program.
    np.testing.assert_allclose(joined.pop("mask"), whole.pop("mask"), atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, joined, whole)
    assert not np.array_equal(whole["image"], batch["image"])
