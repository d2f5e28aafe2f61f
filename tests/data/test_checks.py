import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import write_image

from fgsam_jax.data import checks
from fgsam_jax.data.checks import File, Problem
from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.data.subset import draw_subset, hold_out, write_csv
from fgsam_jax.errors import InputError
from fgsam_jax.experiments.dataset_summary import class_table, joint_text, problem_text, split_table
from fgsam_jax.labels.attributes import MARKET1501, PETA, Attribute
from fgsam_jax.labels.skeleton import JOINTS, MIRRORED_JOINT

HEIGHT, WIDTH = 64, 32


def crop(folder, name, identity, camera=1, **attributes):
    return Crop(folder / name, name, identity, camera, attributes or {"hat": 0})


@pytest.fixture
def splits(tmp_path):
    """A set without any problem."""
    return {
        "train": [crop(tmp_path, f"t{n}.jpg", 1 + n // 2, 1 + n % 2) for n in range(4)],
        "query": [crop(tmp_path, "q0.jpg", 8, 1), crop(tmp_path, "q1.jpg", 9, 2)],
        "gallery": [
            crop(tmp_path, "g0.jpg", 8, 2),
            crop(tmp_path, "g1.jpg", 9, 1),
            crop(tmp_path, "g4.jpg", 9, 3),
            crop(tmp_path, "g2.jpg", 0, 3),
            crop(tmp_path, "g3.jpg", -1, 3),
        ],
    }


def files_of(splits, **same):
    """Files that differ from one another, but for those said to be the same as another."""
    names = [crop.path for crops in splits.values() for crop in crops]
    return {path: File(same.get(path.stem, path.stem).encode(), (128, 64)) for path in names}


def found(splits, **same):
    return checks.check_crops(splits, files_of(splits, **same))


def test_a_proper_set_has_no_problem(splits):
    assert found(splits) == []


def test_only_files_that_do_not_decode_are_reported_and_all_of_them(tmp_path):
    for number in range(5):
        write_image(tmp_path / f"{number}.jpg", number)
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:400])
    (tmp_path / "3.jpg").write_bytes(b"no image")
    (tmp_path / "4.jpg").unlink()
    seen = []
    files = checks.inspect_all(
        [tmp_path / f"{number}.jpg" for number in (0, 1, 2, 3, 4, 0)], lambda: seen.append(1)
    )

    (problem,) = checks.unusable_images(files)
    assert problem.fatal
    assert "3 of 5" in problem.text
    assert [case.split(" cannot be read")[0] for case in problem.cases] == [
        str(tmp_path / f"{number}.jpg") for number in (1, 3, 4)
    ]
    assert "truncated" in problem.cases[0].lower()
    assert "another format" in problem.cases[1]
    assert "No such file" in problem.cases[2]
    assert len(seen) == 5
    assert files[tmp_path / "0.jpg"].size == (128, 64)


def test_the_digest_is_of_the_bytes(tmp_path):
    write_image(tmp_path / "a.jpg", 1)
    write_image(tmp_path / "b.jpg", 2)
    shutil.copy(tmp_path / "a.jpg", tmp_path / "c.jpg")
    a, b, c = (checks.inspect(tmp_path / f"{name}.jpg").digest for name in "abc")

    assert a == c != b


def test_people_of_train_in_query_or_gallery_are_fatal(splits, tmp_path):
    splits["gallery"].append(crop(tmp_path, "x.jpg", 2, 1))

    assert found(splits) == [
        Problem("identities of train that are also in gallery: 1", ("identity 2",), fatal=True)
    ]


def test_junk_and_distractors_are_nobody_who_could_be_shared(splits, tmp_path):
    splits["train"].append(crop(tmp_path, "x.jpg", 0, 1))
    splits["train"].append(crop(tmp_path, "y.jpg", -1, 1))

    assert found(splits) == []


def test_an_image_of_train_in_the_gallery_is_a_leak_and_fatal(splits):
    (problem,) = found(splits, g2="t0")
    assert problem.text.startswith("LEAK")
    assert problem.fatal
    assert problem.cases == ("train/t0.jpg = gallery/g2.jpg, under the identities 0, 1",)


def test_a_query_image_in_the_gallery_is_a_warning(splits):
    assert found(splits, g0="q0") == [
        Problem("query images that are also gallery images: 1", ("query/q0.jpg = gallery/g0.jpg",))
    ]


def test_an_image_twice_in_a_split_is_a_warning(splits):
    (problem,) = found(splits, t1="t0", t2="t0")
    assert problem.text == "images that are more than once in train, the same bytes: 1"
    assert problem.cases == (
        "train/t0.jpg = train/t1.jpg = train/t2.jpg, under the identities 1, 2",
    )
    assert not problem.fatal


def test_files_that_cannot_be_used_are_no_duplicates_of_one_another(splits):
    files = dict.fromkeys(files_of(splits), File(fault="cut"))
    assert checks.check_crops(splits, files) == []


def test_images_of_other_kinds_are_counted_and_people_lost_by_it_named(tmp_path):
    read = [tmp_path / "anna" / "1.jpg", tmp_path / "ben" / "1.png"]
    others = [tmp_path / name for name in ("anna/2.WEBP", "cem/1.webp", "cem/2.jfif", "dora/1.tif")]
    ignored = [tmp_path / name for name in ("@eaDir/1.webp", "anna/.2.webp", "anna/notes.txt")]
    for path in (*read, *others, *ignored):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    passed, lost = checks.passed_over([tmp_path], read)
    assert "not read: 2 .webp, 1 .jfif, 1 .tif; convert them" in passed.text
    assert set(passed.cases) == set(map(str, others))
    assert lost.cases == (str(tmp_path / "cem"), str(tmp_path / "dora"))
    assert not passed.fatal
    assert checks.passed_over([tmp_path / "ben"], read) == []


def numbered(first, images=3, people=8):
    return np.repeat(np.arange(first, first + people), images)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([numbered(0)], ["the identity 0, taken for distractors, who are nobody: 3; if"]),
        ([numbered(0, people=4), numbered(4, people=4)], ["the identity 0, taken for distractors"]),
        ([numbered(1)], []),
        ([numbered(1), np.zeros(30, int)], []),  # many distractors
        ([10 * numbered(1), np.zeros(2, int)], []),  # numbers with gaps
        ([np.zeros(3, int)], []),
    ],
)
def test_a_person_of_number_0_is_told_from_distractors(numbers, told):
    problems = checks.perhaps_from_zero(*numbers)
    assert len(problems) == len(told)
    assert all(text in problem.text for text, problem in zip(told, problems, strict=True))


def test_what_a_file_is_named_is_shown_without_the_commands_of_a_terminal():
    assert "\n    a b\\x1b[31m" in problem_text(Problem("files", ("a\nb\x1b[31m",)))


def test_a_query_with_matches_by_its_own_camera_alone_has_none(splits, tmp_path):
    splits["gallery"][0] = crop(tmp_path, "g0.jpg", 8, 1)

    assert found(splits) == [
        Problem(
            "queries without a match in the gallery from another camera: 1 of 2; they are left out",
            ("q0.jpg",),
        )
    ]


def test_no_match_at_all_is_fatal(splits):
    splits["query"] = splits["query"][:1]
    splits["gallery"] = splits["gallery"][1:]

    (problem,) = found(splits)
    assert problem.text.startswith("no query has a match in the gallery from another camera")
    assert problem.fatal


def test_without_cameras_the_same_person_is_a_match(splits, tmp_path):
    bare = {
        split: [Crop(c.path, c.name, c.identity, 0, c.attributes) for c in crops]
        for split, crops in splits.items()
    }
    assert found(bare) == []


def test_a_match_is_by_another_camera_than_the_query_where_that_is_known(tmp_path):
    seen = [(1, 1), (2, 0), (3, 1), (3, 2), (0, 4), (-1, 4)]
    gallery = [crop(tmp_path, f"{n}.jpg", *image) for n, image in enumerate(seen)]
    for identity, camera, match in (
        (1, 1, False),
        (1, 2, True),
        (1, 0, True),
        (2, 1, True),
        (2, 0, True),
        (3, 1, True),
        (0, 1, False),
        (-1, 1, False),
        (4, 1, False),
    ):
        query = [crop(tmp_path, "q.jpg", identity, camera)]
        assert checks.has_match(query, gallery).tolist() == [match]
        assert checks.has_match(query, []).tolist() == [False]


@pytest.mark.parametrize(("split", "fatal"), [("train", False), ("gallery", True)])
def test_cameras_of_some_images_only_are_fatal_where_evaluation_needs_them(splits, split, fatal):
    first = splits[split][0]
    splits[split][0] = Crop(first.path, first.name, first.identity, 0, first.attributes)

    (problem,) = found(splits)
    assert "without a camera: 1 of" in problem.text
    assert problem.fatal == fatal


def test_a_gallery_by_one_camera_is_a_warning(splits, tmp_path):
    splits["query"] = [crop(tmp_path, "q0.jpg", 8, 1)]
    splits["gallery"] = [crop(tmp_path, "g0.jpg", 8, 2), crop(tmp_path, "g2.jpg", 0, 3)]

    assert found(splits) == [Problem("the gallery shows people by camera 2 only")]


def test_a_missing_or_empty_split_is_fatal_and_stops_there(splits):
    del splits["query"]
    splits["gallery"] = []

    assert found(splits) == [Problem("there is no image in query and gallery", fatal=True)]


def test_attributes_that_only_the_test_images_have_are_named(splits, tmp_path):
    splits["query"][0] = crop(tmp_path, "q0.jpg", 8, 1, hat=0, bag=1, age=-1)
    (problem,) = found(splits)
    assert "no training image has the attributes bag," in problem.text


def test_a_set_without_attributes_is_told(splits):
    bare = {s: [Crop(c.path, c.name, c.identity, c.camera) for c in x] for s, x in splits.items()}
    (problem,) = found(bare)
    assert "no training image has an attribute" in problem.text
    assert not problem.fatal


def test_published_numbers_are_compared_and_missing_images_are_fatal(splits):
    met = {"train": (4, 2), "query": (2, 2), "gallery": (5, 2)}
    assert checks.check_published(splits, met) == []
    assert checks.check_published(splits, {}) == []
    assert checks.check_published(splits, met | {"train": (12936, 751)}) == [
        Problem("images of train: published 12,936, found 4", fatal=True),
        Problem("identities of train: published 751, found 2"),
    ]
    assert checks.check_published(splits, met | {"gallery": (3, 2)}) == [
        Problem("images of gallery: published 3, found 5")
    ]


def test_splits_are_drawn_for_a_set_without_and_kept_for_one_with(splits, tmp_path):
    assert checks.drawn_splits(splits, 0) is splits
    crops = [crop(tmp_path, f"{n}.jpg", 1 + n // 3) for n in range(12)]
    drawn = checks.drawn_splits({WHOLE: crops}, 3)

    assert {split: len(rows) for split, rows in drawn.items()} == {
        "train": 6,
        "query": 2,
        "gallery": 4,
    }
    assert checks.shared_identities(drawn) == []
    assert drawn == checks.drawn_splits({WHOLE: crops}, 3)


def people(rows=30):
    """Upright people who face the camera, joints float32 [rows, 2, 18, 3]; the second is absent."""
    joints = np.zeros((rows, 2, len(JOINTS), 3), np.float32)
    joints[:, 1, :, 2] = -1
    joints[:, 0, :, 2] = 2
    joints[:, 0, :, 1] = np.linspace(4, 60, len(JOINTS))
    for column, name in enumerate(JOINTS):
        side = {"right": -6, "left": 6}.get(name.partition("_")[0], 0)
        joints[:, 0, column, 0] = 16 + side
    return joints


def joint_problems(joints):
    return checks.check_joints(joints, HEIGHT, WIDTH, "train")


def test_proper_joints_have_no_problem():
    assert joint_problems(people()) == []


def test_swapped_sides_are_noticed_on_people_who_face_the_camera():
    (problem,) = joint_problems(people()[:, :, MIRRORED_JOINT])
    assert "left and right seem swapped" in problem.text
    assert not problem.fatal


def test_people_whose_nose_is_hidden_say_nothing_about_the_sides():
    joints = people()[:, :, MIRRORED_JOINT]
    joints[:, 0, JOINTS.index("nose"), 2] = 1
    assert joint_problems(joints) == []


def test_joints_that_mostly_lie_outside_of_the_crop_are_fatal():
    joints = people()
    joints[..., 0] += 30
    (problem,) = joint_problems(joints)
    assert "lie outside of their crop" in problem.text
    assert problem.fatal


def test_some_joints_outside_are_a_warning_and_those_of_others_are_not_counted():
    joints = people()
    joints[:, 0, JOINTS.index("left_ankle"), 1] = HEIGHT
    joints[:, 0, JOINTS.index("left_knee"), 1] = -1
    joints[:, 1] = joints[:, 0] + 1000
    joints[:, 1, :, 2] = 2
    (problem,) = joint_problems(joints)
    assert problem.text == "11.1 % of the joints of train lie outside of their crop"
    assert not problem.fatal


def test_joints_in_fractions_of_the_image_lie_on_one_spot():
    joints = people()
    joints[..., :2] /= (WIDTH, HEIGHT)
    assert any("one spot" in p.text and p.fatal for p in joint_problems(joints))


@pytest.mark.parametrize("state", [0, -1])
def test_a_set_without_a_labelled_joint_is_fatal(state):
    joints = people()
    joints[..., 2] = state
    assert joint_problems(joints) == [Problem("no crop of train has a labelled joint", fatal=True)]


def test_joints_that_are_no_numbers_are_fatal():
    joints = people()
    joints[0, 0, 3, 0] = np.nan
    assert joint_problems(joints) == [Problem("some joints of train are not numbers", fatal=True)]


def test_a_long_list_of_cases_is_cut_and_counted():
    text = problem_text(Problem("bad", tuple(map(str, range(33))), fatal=True))
    assert text.startswith("error: bad\n    0\n")
    assert text.endswith("    19\n    and 13 more")
    assert problem_text(Problem("odd", ("a",))) == "warning: odd\n    a"


def test_the_tables_count_what_is_there(splits):
    lines = split_table(splits, files_of(splits)).splitlines()
    train = "train 4 2 0 0 2 2 to 2, median 2 128x64 128x64 (100 %) 128x64"
    assert " ".join(lines[1].split()) == train
    assert lines[3].split()[:6] == ["gallery", "5", "2", "1", "1", "3"]
    hats = [crop(splits["train"][0].path, "x", 1 + n // 2, hat=n % 3 - 1) for n in range(6)]
    kinds = [kind for kind in MARKET1501 if kind.name == "hat"]
    row = class_table(hats, kinds, "train").splitlines()[1]
    assert " ".join(row.split()) == "hat 4 3 50.0 no 2, yes 2"


def test_the_joint_table_counts_people_and_states():
    joints = people(4)
    joints[0, 0, 0, 2], joints[1, 0, 0, 2], joints[2, 0, 0, 2] = 1, 0, -1
    joints[3, 0, :, 2] = -1
    mask = np.ones((4, 8, 4), np.float32)
    mask[0, :4] = 0
    text = joint_text(joints, mask, "val")
    assert "val: 4 crops, 1 with nobody; people in a crop: 0 to 1, median 1" in text
    assert "12.50 % of the area, in 1 crops" in text
    assert ["nose", "0.0", "33.3", "33.3", "33.3"] in [line.split() for line in text.splitlines()]


def a_set(counts, test):
    """Crops of train with so many images a person, and query and gallery of as many others."""
    place = Path("/images")
    train = [
        crop(place, f"t{person}_{n}.jpg", person, 1 + n % 3, hat=person % 2, age=0)
        for person, count in enumerate(counts, 1)
        for n in range(count)
    ]
    query = [crop(place, f"q{person}.jpg", 100 + person, 1) for person in range(test)]
    gallery = [crop(place, f"g{p}_{c}.jpg", 100 + p, c) for p in range(test) for c in (1, 2)]
    gallery += [crop(place, f"n{n}.jpg", -(n % 2), 1) for n in range(20)]
    return {"train": train, "query": query, "gallery": gallery}


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    test=st.integers(2, 12),
    images=st.integers(1, 120),
    seed=st.integers(0, 99),
)
def test_a_subset_has_whole_people_and_no_problem(counts, test, images, seed):
    whole = a_set(counts, test)
    subset = draw_subset(whole, images, seed)

    for split, crops in subset.items():
        chosen = {c.identity for c in crops if c.identity > 0}
        assert [c for c in crops if c.identity > 0] == [
            c for c in whole[split] if c.identity in chosen
        ]
    size = len(subset["train"])
    last = max(counts)
    assert size >= min(images, sum(counts))
    assert size < images + last
    assert not any(problem.fatal for problem in found(subset))
    assert checks.has_match(subset["query"], subset["gallery"]).all()
    assert subset == draw_subset(whole, images, seed)


def test_the_test_set_of_a_subset_is_in_proportion():
    subset = draw_subset(a_set([5] * 20, 40), 25, 0)
    assert [len(crops) for crops in subset.values()] == [25, 10, 25]


def test_a_set_without_matches_gives_no_subset():
    whole = a_set([3], 2)
    with pytest.raises(InputError, match="queries with a match"):
        draw_subset(whole | {"gallery": []}, 3, 0)


def test_the_csv_names_classes_and_leaves_out_what_is_not_known(tmp_path):
    own = Attribute("socks", "lower_leg", ("red", "none"))
    kinds = (*(kind for kind in PETA if kind.name in ("hat", "age")), own)
    crops = {
        "train": [
            crop(tmp_path, "a,b.jpg", 3, 2, hat=1, age=0, socks=1),
            crop(tmp_path, "c.jpg", 4, 1, hat=0, socks=0),
        ],
        "query": [crop(tmp_path, "q.jpg", 5, 1, hat=-1)],
        "gallery": [crop(tmp_path, "é.jpg", -1, 1, hat=-1)],
    }
    write_csv(tmp_path / "x.csv", crops, kinds)
    rows = list(csv.reader((tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()))

    assert rows == [
        ["path", "identity", "camera", "split", "hat", "lower_leg.socks"],
        [str(tmp_path / "a,b.jpg"), "3", "2", "train", "yes", "none"],
        [str(tmp_path / "c.jpg"), "4", "1", "train", "no", "red"],
        [str(tmp_path / "q.jpg"), "5", "1", "query", "", ""],
        [str(tmp_path / "é.jpg"), "-1", "1", "gallery", "", ""],
    ]
    crops["query"] = [crop(tmp_path, "q.jpg", 5, 0)]
    write_csv(tmp_path / "x.csv", crops, ())
    assert (tmp_path / "x.csv").read_text(encoding="utf-8").startswith("path,identity,split\n")


def test_a_csv_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(tmp_path / "absent" / "x.csv", a_set([2], 2), MARKET1501)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=8, max_size=12),
    people=st.integers(1, 4),
    images=st.none() | st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_people_held_out_of_train_are_a_test_set_without_anybody_else(counts, people, images, seed):
    whole = a_set([*counts, 6, 6, 6, 6, 6], 3)
    held = hold_out(whole, people, seed, images)
    tested = {c.identity for c in held["query"]}
    assert len(tested) == people
    assert {c.identity for c in held["gallery"]} == tested
    # Every image of theirs is in one of both, one of each camera in query.
    theirs = [c for c in whole["train"] if c.identity in tested]
    assert sorted(c.name for c in held["query"] + held["gallery"]) == sorted(c.name for c in theirs)
    assert len(held["query"]) == len({(c.identity, c.camera) for c in theirs})
    assert checks.has_match(held["query"], held["gallery"]).all()
    rest = [c for c in whole["train"] if c.identity not in tested]
    chosen = {c.identity for c in held["train"]}
    assert held["train"] == [c for c in rest if c.identity in chosen]
    assert len(held["train"]) >= min(images or len(rest), len(rest))
    assert len(held["train"]) < (images or len(rest) + 1) + max(*counts, 6)
    assert held == hold_out(whole, people, seed, images)


def test_more_people_cannot_be_held_out_than_have_matches():
    whole = a_set([6, 6, 2, 1], 2)  # two images are by two cameras: nothing is left to find
    with pytest.raises(InputError, match="3 people to hold out: train has 2 with matches"):
        hold_out(whole, 3, 0)
    with pytest.raises(InputError, match="2 people to hold out: train has 1 with matches"):
        hold_out(a_set([6, 6], 2), 2, 0)


def test_where_cameras_are_not_known_one_image_of_a_person_is_asked_for():
    crops = [crop(Path("/images"), f"{n}.jpg", 1 + n // 3, 0) for n in range(9)]
    held = hold_out({"train": crops, "query": [], "gallery": []}, 2, 0)
    assert [len(some) for some in held.values()] == [3, 2, 4]


def test_so_many_people_are_trained_on_beside_the_held_out_ones():
    whole = a_set([6, 5, 4, 6, 7, 6], 2)
    held = hold_out(whole, 2, 0, identities=3)
    everybody = hold_out(whole, 2, 0)
    assert held["query"] == everybody["query"]
    assert len({c.identity for c in held["train"]}) == 3
    assert {c.name for c in held["train"]} < {c.name for c in everybody["train"]}
    with pytest.raises(InputError, match="5 identities to train on: 4 are left"):
        hold_out(whole, 2, 0, identities=5)
