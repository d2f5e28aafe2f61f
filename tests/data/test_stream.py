import threading

import numpy as np
import pytest
from trees import STANDING_PERSON, coco_person, write_coco, write_market

from fgsam_jax.data import builders, load_table
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.data.stream import Stream, nearest_people
from fgsam_jax.errors import InputError

IMAGES = 11
FIVE = STANDING_PERSON | {"right_hip": (94, 130, 2)}
ASIDE = {name: (x - 75, y - 30, state) for name, (x, y, state) in FIVE.items()}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Both builders over eleven images of two people."""
    root = tmp_path_factory.mktemp("stream")
    people = []
    for image in range(1, IMAGES + 1):
        people.append(coco_person(image, [80, 40, 40, 100 + 8 * image], FIVE, image))
        people.append(coco_person(100 + image, [10, 20, 30, 160], ASIDE, image))
    source = write_coco(root / "coco", people, images=IMAGES)
    names = ("coco_openpose", "coco_keypoints")
    return {name: open_builder(builders()[name], source, root / "records") for name in names}


def stream(opened, batch=4, *, seed=0, name="coco_openpose", **shares):
    return Stream(opened[name], "train", 64, 32, batch, seed=seed, **shares)


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_a_step_has_images_joints_and_masks_of_one_shape(opened):
    made = stream(opened)(0)

    assert {name: (x.shape, x.dtype) for name, x in made.items()} == {
        "image": ((4, 64, 32, 3), np.uint8),
        "joints": ((4, 20, 18, 3), np.float32),
        "mask": ((4, 8, 4), np.float32),
    }
    assert stream(opened).per_epoch == 2


@pytest.mark.parametrize("name", ["coco_openpose", "coco_keypoints"])
def test_a_stream_resumed_at_a_step_gives_the_batches_of_one_never_stopped(opened, name):
    whole = list(stream(opened, name=name).batches(0, 12))
    resumed = list(stream(opened, name=name).batches(5, 12))

    assert len(resumed) == 7
    assert all(same(a, b) for a, b in zip(whole[5:], resumed, strict=True))


@pytest.mark.parametrize("name", ["coco_openpose", "coco_keypoints"])
def test_fetching_ahead_gives_the_same_as_calling(opened, name):
    made = stream(opened, name=name)

    for step, batch in enumerate(made.batches(0, 7)):
        assert same(batch, made(step))


def test_stopping_early_leaves_no_thread_behind(opened):
    before = set(threading.enumerate())
    batches = stream(opened).batches(0, 1000)
    next(batches)
    started = set(threading.enumerate()) - before
    batches.close()
    for thread in started:
        thread.join(timeout=10)

    assert started
    assert not any(thread.is_alive() for thread in started)


class Numbered:
    """A builder whose joints are all at (n, n) in image number n."""

    def __init__(self, builder):
        self.info, self.as_data_source = builder.info, builder.as_data_source

    def view(self, example, height, width, random=None):
        number = int(example["name"])
        return {
            "image": np.zeros((height, width, 3), np.uint8),
            "joints": np.full((1, 18, 3), number, np.float32),
            "mask": np.ones((height // 8, width // 8), np.float32),
        }


def numbers(opened, batch, steps, seed=0):
    """The numbers of the images of some steps."""
    made = Stream(Numbered(opened["coco_openpose"]), "train", 64, 32, batch, seed=seed)
    return [int(x) for step in steps for x in made(step)["joints"][:, 0, 0, 0]]


@pytest.mark.parametrize(("batch", "shown"), [(11, 11), (1, 11), (3, 9)])
def test_an_epoch_shows_every_image_once_but_for_the_remainder(opened, batch, shown):
    for epoch in range(3):
        steps = range(epoch * (IMAGES // batch), (epoch + 1) * (IMAGES // batch))
        found = numbers(opened, batch, steps)

        assert len(found) == shown
        assert len(set(found)) == shown


def test_epochs_and_seeds_differ_in_their_order(opened):
    first, second = numbers(opened, 11, [0]), numbers(opened, 11, [1])

    assert first != second
    # The next seed is another order, and not that of the next epoch either.
    assert numbers(opened, 11, [0], seed=1) not in (first, second)


def test_views_differ_from_seed_to_seed_and_from_epoch_to_epoch(opened):
    noses = [
        made(step)["joints"][:, 0, 0, :2]
        for made, step in ((stream(opened, 11), 0), (stream(opened, 11), 1))
    ] + [stream(opened, 11, seed=1)(0)["joints"][:, 0, 0, :2]]

    for one, other in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(noses[one][:, None] - noses[other][None], axis=-1)
        assert apart.min() > 0


def test_the_shares_of_two_processes_are_the_batch_of_one(opened):
    whole = stream(opened, 4)
    shares = [stream(opened, 4, process=p, processes=2) for p in (0, 1)]

    for step in range(6):
        parts = [share(step) for share in shares]
        for name, expected in whole(step).items():
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, expected)


def test_a_stream_of_person_crops_shows_the_rows_of_the_table(opened):
    builder = opened["coco_keypoints"]
    table = load_table(builder, "train", 64, 32)
    made = Stream(builder, "train", 64, 32, 22, seed=3)(0)
    rows = [
        next(r for r in range(22) if np.array_equal(table.images[r], image))
        for image in made["image"]
    ]

    assert sorted(rows) == list(range(22))
    for row, joints, mask in zip(rows, made["joints"], made["mask"], strict=True):
        np.testing.assert_array_equal(mask, table.mask[row])
        expected = [p for p in table.joints[row] if (p[:, 2] >= 0).any()]
        np.testing.assert_array_equal(
            sorted(joints[: len(expected)].tolist()), sorted(p.tolist() for p in expected)
        )
        assert (joints[len(expected) :, :, 2] == -1).all()


def test_the_nearest_people_whose_joints_show_are_kept():
    joints = np.zeros((4, 18, 3), np.float32)
    joints[0, 0] = (60, 60, 2)
    joints[1, 0] = (33, 31, 1)
    # Its confidence map reaches into the image, and that of the last one does not.
    joints[2, 0] = (-20, 30, 2)
    joints[3, 0] = (-30, 30, 2)

    kept = nearest_people(joints, 64, 64, 5)
    np.testing.assert_array_equal(kept[:3], joints[[1, 0, 2]])
    assert (kept[3:, :, 2] == -1).all()
    np.testing.assert_array_equal(nearest_people(joints, 64, 64, 2), joints[[1, 0]])
    # Joints must stay known where nobody shows.
    alone = nearest_people(joints[3:], 64, 64, 2)
    np.testing.assert_array_equal(alone[0], joints[3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test", 64, 32, 4), "no split 'test': choose one of train, val"),
        (("train", 60, 32, 4), "divisible by 8, got 60x32"),
        (("train", 64, 32, 12), "batch of 12 needs as many images, the train split has 11"),
        (("train", 64, 32, 5), "batch of 5 cannot be shared by 2 processes"),
    ],
)
def test_what_cannot_be_streamed_is_an_error(opened, arguments, message):
    with pytest.raises(InputError, match=message):
        Stream(
            opened["coco_openpose"], *arguments, seed=0, processes=2 if "shared" in message else 1
        )


def test_a_set_without_joints_is_an_error(tmp_path):
    builder = open_builder(
        builders()["market1501"], write_market(tmp_path / "market"), tmp_path / "records"
    )

    with pytest.raises(InputError, match=r"needs images with joints, Market-1501 has none"):
        Stream(builder, "train", 64, 32, 1, seed=0)


def test_an_image_of_nobody_is_padded():
    nobody = np.zeros((0, 18, 3), np.float32)

    assert (nearest_people(nobody, 64, 64)[..., 2] == -1).all()
