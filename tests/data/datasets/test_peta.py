import os
from pathlib import Path

import numpy as np
import pytest
from trees import PETA, open_table, write_peta

from fgsam_jax.data import load_table, open_set
from fgsam_jax.data.datasets.peta import classes, read_labels
from fgsam_jax.data.splits import WHOLE, draw_splits
from fgsam_jax.errors import InputError
from fgsam_jax.labels import attributes


@pytest.fixture
def peta(tmp_path):
    return write_peta(tmp_path / "PETA dataset")


def named(labels):
    """The labelled attributes of a person by the names of their classes."""
    kinds = {attribute.name: attribute.classes for attribute in attributes.PETA}
    return {name: kinds[name][row] for name, row in classes(labels).items() if row >= 0}


def test_every_image_is_read_whatever_its_format_and_people_are_numbered(peta, tmp_path):
    table = open_table("peta", peta, tmp_path / "records", WHOLE, 32, 16)

    names = [f"{subset}/{name}" for subset in PETA for name in sorted(PETA[subset][0])]
    assert sorted(table.names.tolist()) == sorted(names)
    assert len({Path(name).suffix for name in names}) == 4
    by_name = dict(zip(table.names.tolist(), table.identities.tolist(), strict=True))
    assert by_name["3DPeS/100_3_FRAME_26_RGB.bmp"] == by_name["3DPeS/100_4_FRAME_185_RGB.bmp"]
    assert by_name["CUHK/0002.png"] != by_name["CUHK/0003.png"]
    assert by_name["GRID/0001_1_25004_107_32_106_221.jpeg"] != by_name["i-LID/0001_001.jpg"]
    assert set(by_name.values()) == set(range(1, 13))
    assert (table.cameras == 0).all()


def test_labels_are_joined_by_person(peta, tmp_path):
    table = open_table("peta", peta, tmp_path / "records", WHOLE, 32, 16)
    row = table.names.tolist().index("3DPeS/1_1_FRAME_1_RGB.bmp")

    assert table.attributes["gender"][row] == 1
    assert table.attributes["hair"][row] == 1
    assert table.attributes["age"][row] == -1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("personalMale", {"gender": "male"}),
        ("personalMale personalFemale", {}),
        ("hairBald hairShort", {"hair": "short"}),
        ("hairLong hairShort", {}),
        ("personalLess45 personalLess60", {"age": "adult"}),
        ("personalLess15 personalLess30", {}),
        ("personalLarger60", {"age": "old"}),
        ("upperBodyGrey", {"upper_colour": "grey"}),
        ("upperBodyGrey upperBodyRed", {}),
        ("upperBodyBlack upperBodyBlack", {"upper_colour": "black"}),
        ("upperBodyNoSleeve", {"sleeve": "short"}),
        ("lowerBodyLongSkirt", {"lower_type": "skirt", "lower_length": "long"}),
        ("lowerBodyShortSkirt", {"lower_type": "skirt", "lower_length": "short"}),
        ("lowerBodyCapri lowerBodyJeans", {}),
        ("footwearYellow footwearBoots", {"shoe_colour": "yellow", "boots": "yes"}),
        ("carryingPlasticBags carryingMessengerBag", {"bag": "yes"}),
        ("accessoryHat carryingBackpack", {"hat": "yes", "backpack": "yes"}),
        ("hairBlack footwearSneakers accessoryShawl", {}),
    ],
)
def test_labels_are_regrouped_to_table_one(labels, expected):
    absent = {"hat": "no", "backpack": "no", "bag": "no", "boots": "no", "lower_type": "other"}

    assert named(labels.split()) == absent | expected


def test_every_part_has_an_attribute_and_a_name_has_one_part_in_all_sets():
    tables = (attributes.MARKET1501, attributes.DUKEMTMC, attributes.PETA)

    for table in tables:
        assert len({attribute.part for attribute in table}) == 6
        for attribute in table:
            assert attributes.PART_OF[attribute.name] == attribute.part
            assert len(set(attribute.classes)) == len(attribute.classes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0001 wearsHat", "line 2, 'wearsHat' is no label"),
        ("0000 hairBlack", "line 2, person '0000' comes twice"),
        ("_ hairBlack", "line 2, person '' comes twice"),
    ],
)
def test_a_line_that_is_no_label_line_is_named(tmp_path, line, message):
    path = tmp_path / "Label.txt"
    path.write_text(f"0000 hairLong\n{line}\n")

    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_a_person_without_labels_is_named(peta, tmp_path):
    (peta / "MIT" / "archive" / "Label.txt").write_text("00002 personalMale\n")

    with pytest.raises(InputError, match=r"no line for person 00001 of .*00001_male_back\.jpg"):
        open_table("peta", peta, tmp_path / "records", WHOLE, 32, 16)


def test_the_labels_of_another_subset_are_refused(peta, tmp_path):
    # In every subset people have numbers from 1, so most lines find an image.
    lines = "".join(f"{number:04d} personalMale\n" for number in range(1, 40))
    (peta / "CAVIAR4REID" / "archive" / "Label.txt").write_text(lines)

    with pytest.raises(InputError, match="names 38 of 39 people without an image"):
        open_table("peta", peta, tmp_path / "records", WHOLE, 32, 16)


def test_an_attribute_file_is_refused(peta, tmp_path):
    with pytest.raises(InputError, match="takes no attribute file"):
        open_set("peta", peta, tmp_path / "records", attributes=peta / "MIT/archive/Label.txt")


def test_a_missing_or_an_empty_subset_is_named(peta, tmp_path):
    (peta / "MIT" / "archive" / "00001_male_back.jpg").unlink()
    with pytest.raises(InputError, match="MIT/archive holds no image"):
        open_set("peta", peta, tmp_path / "records")
    (peta / "MIT" / "archive" / "Label.txt").unlink()
    with pytest.raises(InputError, match=r"It lacks MIT/archive/Label\.txt"):
        open_set("peta", peta, tmp_path / "records")
    with pytest.raises(InputError, match="PETA was not found"):
        open_set("peta", peta / "GRID", tmp_path / "records")


IDENTITIES = np.repeat(np.arange(-1, 30), [3, 4, *[1, 2, 5] * 9, 2, 2])


def test_the_drawn_splits_share_nobody_and_have_one_query_for_each_test_person():
    splits = draw_splits(IDENTITIES, seed=3)
    people = {split: IDENTITIES[rows] for split, rows in splits.items()}

    assert set(people["train"]).isdisjoint(people["query"])
    assert set(people["gallery"]) == set(people["query"]) | {0}
    assert len(set(people["query"])) == len(people["query"])
    assert len(set(people["train"])) == len(set(people["query"])) == 10
    rows = np.concatenate(list(splits.values()))
    counts = {person: (person == IDENTITIES).sum() for person in set(IDENTITIES)}
    drawn = {
        row
        for row, person in enumerate(IDENTITIES)
        if person == 0 or (person > 0 and counts[person] > 1)
    }
    assert set(rows.tolist()) == drawn
    assert len(rows) == len(drawn)


def test_a_seed_draws_the_same_splits_again_and_another_one_others():
    first, again, other = (draw_splits(IDENTITIES, seed) for seed in (0, 0, 1))

    assert all((first[split] == again[split]).all() for split in first)
    assert any(len(first[s]) != len(other[s]) or (first[s] != other[s]).any() for s in first)


def test_splits_need_two_people_with_two_images():
    with pytest.raises(InputError, match="1 people have two images"):
        draw_splits(np.array([1, 1, 2, 3, -1, -1, 0, 0]), seed=0)


def test_a_set_without_splits_gives_those_drawn_by_the_seed(peta, tmp_path):
    builder = open_set("peta", peta, tmp_path / "records")
    whole = load_table(builder, WHOLE, 32, 16)
    for seed in (0, 1):
        rows = draw_splits(whole.identities, seed)
        for split in ("train", "query", "gallery"):
            table = load_table(builder, split, 32, 16, seed=seed)
            assert table.names.tolist() == whole.names[rows[split]].tolist()
            np.testing.assert_array_equal(np.asarray(table.images), whole.images[rows[split]])


def test_the_real_peta_has_its_published_size(tmp_path_factory):
    source = Path(os.environ.get("FGSAM_DATA", "nowhere")) / "PETA dataset"
    if not source.is_dir():
        pytest.skip("FGSAM_DATA names no folder with PETA dataset")
    builder = open_set("peta", source, tmp_path_factory.mktemp("records"))
    table = load_table(builder, WHOLE, 2, 1)
    people, counts = np.unique(table.identities, return_counts=True)

    assert (len(table), len(people), (counts > 1).sum()) == (19000, 8699, 1730)
    assert sum(name.startswith("CUHK/") for name in table.names) == 4563
    splits = draw_splits(table.identities, seed=0)
    assert len(splits["query"]) == 865
    # Hats once more, from the label files alone.
    hats = {
        (subset.name, line.split()[0].split(".")[0])
        for subset in source.iterdir()
        for line in (subset / "archive" / "Label.txt").read_text().splitlines()
        if "accessoryHat" in line.split()
    }
    worn = [
        (name.split("/")[0], name.split("/")[1].split(".")[0].split("_")[0]) in hats
        for name in table.names
    ]
    assert (table.attributes["hat"] == 1).tolist() == worn
