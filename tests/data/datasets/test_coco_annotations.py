import copy
import json
import random

import numpy as np
import pytest
from trees import STANDING_PERSON, coco_person, write_coco

from fgsam_jax.data.datasets.coco import CocoKeypoints
from fgsam_jax.data.datasets.coco_annotations import convert_joints, loss_mask, read_annotations
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.errors import InputError

NAN = float("nan")
CROWD = {"size": [240, 200], "counts": [0, 480, 240 * 200 - 480]}
PEOPLE = [
    coco_person(1, [80, 40, 40, 190], STANDING_PERSON, segmentation=[[0, 0, 9, 0, 9, 9]]),
    coco_person(2, [10, 10, 30, 30], segmentation=[[10, 10, 20, 10, 20, 20, 10, 20]]),
    coco_person(3, [0, 0, 20, 240], iscrowd=1, segmentation=CROWD),
]
FILE = "annotations/person_keypoints_train2017.json"


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / "coco", PEOPLE)


@pytest.fixture
def content(coco):
    content = json.loads((coco / FILE).read_text())
    content["images"][0] |= {"width": 200, "height": 240}
    return content


def changed(content, place, value):
    """A copy with another value at a place, or without it."""
    content = copy.deepcopy(content)
    *way, last = place
    inner = content
    for key in way:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return content


def read(coco, content):
    (coco / FILE).write_text(json.dumps(content))
    return read_annotations(coco / FILE)


@pytest.mark.parametrize(
    ("place", "values", "message"),
    [
        (("images",), [None, 1, "x", [1], {"id": 1}], "images should be a list of objects"),
        (("annotations",), [None, [None, []], {}], "annotations should be a list of objects"),
        (("categories",), [None, []], "categories should be|one category should have the name"),
        (("categories", 0, "id"), [None, "1", True], "the id of the category person"),
        (("categories", 0, "keypoints"), [None, "nose", [1]], "no list of the names"),
        (("categories", 0, "keypoints"), [[], ["a"], ["nose"] * 17], "its keypoints should be"),
        (("images", 0, "id"), [None, "1", 1.5, NAN, True, 2**63, [1]], "an image has the id"),
        (("images", 0, "file_name"), [None, "", 5, ["a.jpg"]], "image 1 has the file_name"),
        (("images", 0, "width"), [None, 0, -1, "200", NAN, 1.5], "image 1 has the width"),
        (("annotations", 0, "id"), [None, "1", 1.5, NAN, []], "its id is no whole number"),
        (("annotations", 0, "id"), [2], "two annotations of image 1 have the id 2"),
        (("annotations", 0, "image_id"), [None, 9, "1", {}], "no image of the id"),
        (("annotations", 0, "bbox"), [None, [1, 2, 3], "text", {}], "annotation 1: its bbox"),
        (("annotations", 0, "bbox"), [["1"] * 4, [[1]] * 4], "annotation 1: its bbox"),
        (("annotations", 0, "bbox", 2), [NAN, -1, 1e300, float("inf")], "annotation 1: its bbox"),
        (("annotations", 0, "keypoints"), [None, [1, 2, 3], 5, "1" * 51], "its keypoints are not"),
        (("annotations", 0, "keypoints", 0), [NAN, "1", [], 10**400, 1e9], "its keypoints are not"),
        (("annotations", 0, "keypoints", 2), [-1, 3], "a state of its keypoints"),
        (("annotations", 0, "num_keypoints"), [None, "4", 18, -1, NAN, {}], "its num_keypoints is"),
        (("annotations", 0, "iscrowd"), ["no", 2, -1, NAN, []], "its iscrowd is"),
        (("annotations", 0, "area"), ["5", -1, NAN, 1e300, []], "its area is"),
    ],
)
def test_a_field_that_is_missing_or_cannot_be_is_named(coco, content, place, values, message):
    for value in values:
        with pytest.raises(InputError, match=message):
            read(coco, changed(content, place, value))


def test_what_files_from_elsewhere_leave_out_is_no_mistake(coco, content):
    for person in content["annotations"][:1]:
        for field in ("segmentation", "iscrowd"):
            del person[field]
        person["area"] = None
    del content["images"][0]["width"], content["images"][0]["height"]
    content["annotations"].append({"id": 9, "category_id": 5})
    _, people, _ = read(coco, content)
    person = people[1][0]
    assert (person["area"], person["iscrowd"], person["segmentation"]) == (40 * 190, 0, [])
    assert person["image_size"] is None


@pytest.mark.parametrize("name", ["/dev/zero", "../val2017/000000000001.jpg", "a/../../../b.jpg"])
def test_an_image_outside_of_the_set_is_refused(coco, content, name, tmp_path):
    read(coco, changed(content, ("images", 0, "file_name"), name))
    builder = open_builder(CocoKeypoints, coco, tmp_path / "records", write=False)
    with pytest.raises(InputError, match=r"names the image .*, which lies outside of .*train2017"):
        builder.images()
    with pytest.raises(InputError, match="lies outside of"):
        open_builder(CocoKeypoints, coco, tmp_path / "records")


@pytest.mark.parametrize("name", ["x" * 1000 + ".jpg", "\ud800.jpg", "a\0.jpg"])
def test_a_name_that_no_file_can_have_is_a_missing_image(coco, content, name, tmp_path):
    read(coco, changed(content, ("images", 0, "file_name"), name))
    with pytest.raises(InputError, match=r"is missing, but the annotations describe it|cannot be"):
        open_builder(CocoKeypoints, coco, tmp_path / "records")


@pytest.mark.parametrize("box", [[0, 0, 30000, 60000], [500, 40, 40, 190], [-100, 40, 40, 190]])
def test_a_box_that_the_image_cannot_hold_is_refused(coco, content, box, tmp_path):
    read(coco, changed(content, ("annotations", 0, "bbox"), box))
    with pytest.raises(InputError, match=r"annotation 1 has the box .*jpg is 200x240"):
        open_builder(CocoKeypoints, coco, tmp_path / "records")


ODD = [
    None, [], {}, "", "x", 0, -1, 0.5, 1e-300, 1e300, 2**31, 2**64, 10**400, NAN, float("inf"),
    True, [None], [[]], {"a": 1}, [1, 2, 3, 4], [0] * 51, ["a"] * 6, [[NAN] * 6], [[1e9] * 6],
    {"size": [240, 200], "counts": [3]}, {"size": [2**31] * 2, "counts": [3]}, {"counts": "zzz"},
    "../x.jpg", "\0", "x" * 5000, "\ud800", "person", "neck", ["nose"],
]  # fmt: skip


def places(value, at=()):
    """The way to everything inside of a JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (*at, key)
        if isinstance(part, (dict, list)):
            yield from places(part, (*at, key))


def test_a_random_mistake_ends_in_a_result_or_in_one_line(coco, content):
    random.seed(0)
    short = [place for place in places(content) if len(place) <= 3]
    refused = []
    for _ in range(400):
        broken = changed(content, random.choice(short), random.choice(ODD))
        try:
            _, people, names = read(coco, broken)
            for persons in people.values():
                assert set(np.unique(loss_mask(persons, 240, 200))) <= {0, 255}
                for person in persons:
                    assert np.isfinite(convert_joints(person["keypoints"], names)).all()
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all(message.isprintable() for message in refused)
