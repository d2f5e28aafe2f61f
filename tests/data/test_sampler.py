import numpy as np
import pytest

from fgsam_jax.config import Phase
from fgsam_jax.data.batches import Batches
from fgsam_jax.data.sampler import IdentitySampler, shuffled_rows
from fgsam_jax.data.table import Table
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute

# Five people with 1 to 5 images, junk between them.
IDENTITIES = np.array([0, 1, -1, 1, 2, 2, 2, 3, 3, 3, 3, -1, 4, 4, 4, 4, 4])


def table(identities):
    rows = len(identities)
    images = np.zeros((rows, 8, 8, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(rows)
    return Table(
        images=images,
        names=np.arange(rows).astype(str),
        identities=np.asarray(identities, np.int32),
        cameras=np.ones(rows, np.int32),
        attributes={"hat": (np.arange(rows) % 2).astype(np.int8)},
        kinds=(Attribute("hat", "head", ("no", "yes")),),
    )


def test_a_batch_has_p_people_with_k_images_side_by_side():
    sampler = IdentitySampler(IDENTITIES, people=3, images=4)
    for step in range(50):
        drawn = IDENTITIES[sampler.rows(seed=1, step=step)].reshape(3, 4)
        assert (drawn == drawn[:, :1]).all()
        assert len(set(drawn[:, 0])) == 3
        assert (drawn >= 0).all()


def test_images_of_a_person_are_distinct_where_there_are_enough():
    sampler = IdentitySampler(IDENTITIES, people=5, images=3)
    for step in range(50):
        for rows in sampler.rows(seed=1, step=step).reshape(5, 3):
            available = np.sum(IDENTITIES[rows[0]] == IDENTITIES)
            if available >= 3:
                assert len(set(rows)) == 3


def test_every_person_and_every_image_is_drawn_in_time():
    sampler = IdentitySampler(IDENTITIES, people=2, images=2)
    drawn = np.concatenate([sampler.rows(seed=1, step=step) for step in range(200)])
    assert set(drawn) == set(np.flatnonzero(IDENTITIES >= 0))


def test_the_same_seed_and_step_give_the_same_rows_and_others_do_not():
    def rows(**changes):
        return IdentitySampler(IDENTITIES, 3, 4).rows(**{"seed": 1, "step": 7, **changes}).tolist()

    assert rows() == rows()
    assert rows() != rows(step=8)
    assert rows() != rows(seed=2)


def test_too_few_people_are_refused():
    with pytest.raises(InputError, match=r"need 6 identities, the training split has 5"):
        IdentitySampler(IDENTITIES, people=6, images=2)


def test_a_shuffled_epoch_covers_every_row_at_most_once():
    epoch = [shuffled_rows(11, 4, seed=3, step=step) for step in range(2)]
    assert len(set(np.concatenate(epoch))) == 8
    assert all(0 <= row < 11 for row in np.concatenate(epoch))


def test_epochs_are_shuffled_anew():
    def epoch(number, seed=3):
        steps = range(3 * number, 3 * number + 3)
        return np.concatenate([shuffled_rows(12, 4, seed=seed, step=step) for step in steps])

    assert sorted(epoch(0)) == sorted(epoch(1)) == list(range(12))
    assert epoch(0).tolist() != epoch(1).tolist()
    assert epoch(0).tolist() != epoch(0, seed=4).tolist()
    assert epoch(5).tolist() == epoch(5).tolist()


def test_fewer_rows_than_a_batch_are_refused():
    with pytest.raises(InputError, match="a batch of 5 needs as many images"):
        shuffled_rows(4, 5, seed=0, step=0)


def test_a_batch_is_gathered_by_row_and_spread_over_the_devices():
    made = Batches(Phase("a", batch=4), table([3, -1, 5, 9, 0, 3, 9]), seed=0, devices=2)
    assert made.per_epoch == 1
    batch = made(0)
    assert batch["image"].shape == (2, 2, 8, 8, 3)
    rows = batch["image"][..., 0, 0, 0].reshape(-1)
    # Rows 1 and 4 are junk and a distractor; identities 3, 5, 9 are the labels 0, 1, 2.
    labels = {0: 0, 2: 1, 3: 2, 5: 0, 6: 2}
    assert len(set(rows)) == 4
    assert batch["label"].reshape(-1).tolist() == [labels[row] for row in rows]
    assert batch["attributes"]["hat"].reshape(-1).tolist() == (rows % 2).tolist()


def test_a_batch_of_people_holds_neither_junk_nor_distractors():
    phase = Phase("a", batch=4, images_per_identity=2)
    made = Batches(phase, table([3, -1, 5, 9, 0, 3, 9]), seed=0, devices=1)
    for step in range(20):
        labels = made(step)["label"].reshape(2, 2)
        assert (labels >= 0).all()
        assert (labels[:, 0] == labels[:, 1]).all()


@pytest.mark.parametrize(
    ("phase", "devices", "message"),
    [
        (Phase("a", batch=6), 4, "a: a batch of 6 cannot be spread over 4 devices"),
        (Phase("a", batch=8), 4, "a: a batch of 8 needs as many images, .* has 5"),
        (Phase("a", batch=4, images_per_identity=1), 1, "need 4 identities, .* has 3"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(phase, devices, message):
    with pytest.raises(InputError, match=message):
        Batches(phase, table([3, -1, 5, 9, 0, 3, 9]), seed=0, devices=devices)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (3, 7), (4, 4)])
def test_batches_made_ahead_are_those_made_when_asked(first, last):
    made = Batches(Phase("a", batch=2), table([3, -1, 5, 9, 0, 3, 9]), seed=0, devices=2)
    ahead = list(made.device_batches(first, last))

    assert len(ahead) == last - first
    for step, (count, batch) in enumerate(ahead, first):
        assert count == 1
        np.testing.assert_array_equal(batch["image"][:, 0], made(step)["image"])
        np.testing.assert_array_equal(batch["label"][:, 0], made(step)["label"])


def test_feeds_of_several_batches_end_where_an_epoch_does():
    people = table([3, 5, 9, 4, 3, 9, 5, 4, 3, 9])
    made = Batches(Phase("a", batch=2), people, seed=0, devices=2)
    assert made.per_epoch == 5
    chunks = list(made.device_batches(1, 12, 3))
    assert [count for count, _ in chunks] == [3, 1, 3, 2, 2]
    rows = list(made.device_batches(1, 12, 3, rows=True))
    step = 1
    for (count, batch), (_, chosen) in zip(chunks, rows, strict=True):
        assert batch["image"].shape == (2, 3, 1, 8, 8, 3)
        for index in range(count):
            np.testing.assert_array_equal(batch["image"][:, index], made(step)["image"])
            np.testing.assert_array_equal(people.images[chosen[:, index]], made(step)["image"])
            step += 1
    assert step == 12


def test_two_processes_gather_the_batch_of_one():
    people = table([3, 5, 9, 4, 3, 9, 5, 4, 3, 9])
    for phase in (Phase("a", batch=8), Phase("a", batch=8, images_per_identity=2)):
        whole = Batches(phase, people, seed=0, devices=4)
        parts = [Batches(phase, people, seed=0, devices=2, process=p, processes=2) for p in (0, 1)]
        for step in range(3):
            joined = np.concatenate([part(step)["image"] for part in parts])
            np.testing.assert_array_equal(joined, whole(step)["image"])
    with pytest.raises(InputError, match="a batch of 8 cannot be spread over 3 devices"):
        Batches(phase, people, seed=0, devices=1, process=0, processes=3)
