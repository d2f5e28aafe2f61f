import csv
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trees import GALLERY, QUERY, TRAIN, open_table, write_image, write_market

from fgsam_jax.data import load_table, open_set
from fgsam_jax.data.datasets import names
from fgsam_jax.data.datasets.crops import parse_name
from fgsam_jax.data.datasets.csv_list import read_csv
from fgsam_jax.data.datasets.folder import read_set
from fgsam_jax.data.datasets.peta import classes, read_labels
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import MARKET1501, PETA, Attribute
from fgsam_jax.labels.skeleton import JOINTS

SPLITS = ("train", "query", "gallery")


def write_people(root, people, images=2):
    """A folder for each person with images 0.jpg, 1.jpg, ..."""
    for seed, person in enumerate(people):
        (root / person).mkdir(parents=True)
        for number in range(images):
            write_image(root / person / f"{number}.jpg", 10 * seed + number)
    return root


def write_csv(path, text, *names):
    """A CSV and the images that it names, empty files."""
    for name in names or re.findall(r"[\w/]+\.jpg", text):
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).touch()
    path.write_text(text)
    return path


def read(source):
    """What a source says, by split: (name, identity, camera) of every image."""
    splits, _ = read_set(source)
    return {
        split: [(crop.name, crop.identity, crop.camera) for crop in crops]
        for split, crops in splits.items()
    }


def refusal(source):
    """The one line by which a source is refused."""
    with pytest.raises(InputError) as error:
        read_set(source)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def left(records):
    return [path for path in records.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_folder_in_the_naming_of_market_gives_its_three_splits(tmp_path):
    market = write_market(tmp_path / "set")
    found = read(market)
    assert list(found) == list(SPLITS)
    assert found["train"][0] == (f"bounding_box_train/{TRAIN[0]}", 2, 1)
    assert [name for name, _, _ in found["query"]] == [f"query/{name}" for name in QUERY]
    assert [row[1:] for row in found["gallery"]] == [(-1, 1), (0, 4), (1, 2), (3, 5)]
    (market / "bounding_box_train").rename(market / "train")
    (market / "bounding_box_test").rename(market / "gallery")
    assert [row[1:] for row in read(market)["gallery"]] == [row[1:] for row in found["gallery"]]


def test_a_flat_folder_has_its_splits_drawn_distractors_join_the_gallery_junk_does_not(tmp_path):
    (tmp_path / "set").mkdir()
    names = ["0005_c2_f0046985.jpg", "0005_c3_f1.JPG", "0009_c1_f1.png", "0009_c2_f1.jpeg"]
    for name in [*names, *GALLERY[:2]]:
        write_image(tmp_path / "set" / name)
    tables = {
        split: open_table("folder", tmp_path / "set", tmp_path / "records", split, 8, 8)
        for split in SPLITS
    }
    assert [len(table) for table in tables.values()] == [2, 1, 2]
    people = {split: set(table.identities.tolist()) for split, table in tables.items()}
    assert people["train"] | people["query"] == {5, 9}
    assert people["gallery"] == people["query"] | {0}
    assert tables["train"].attributes == {}


def test_people_are_numbered_in_the_order_of_their_folders_over_the_whole_set(tmp_path):
    write_people(tmp_path / "train", ["Zoe", "anna"])
    write_people(tmp_path / "query", ["ben", "10"], images=1)
    write_people(tmp_path / "gallery", ["ben", "10", "2"])
    found = read(tmp_path)
    assert {name.split("/")[1]: number for rows in found.values() for name, number, _ in rows} == {
        "10": 1, "2": 2, "Zoe": 3, "anna": 4, "ben": 5,
    }  # fmt: skip
    assert found["query"] == [("query/10/0.jpg", 1, 0), ("query/ben/0.jpg", 5, 0)]
    assert all(camera == 0 for rows in found.values() for _, _, camera in rows)


def test_images_of_market_sorted_into_folders_keep_their_cameras_junk_and_distractors(tmp_path):
    for name in (*QUERY, *GALLERY):
        folder = tmp_path / name.split("_")[0]
        folder.mkdir(exist_ok=True)
        write_image(folder / name)
    (found,) = read(tmp_path).values()
    assert [row[1:] for row in found] == [(-1, 1), (0, 4), (1, 1), (1, 2), (2, 5), (2, 6)]
    write_image(tmp_path / "0001" / "holiday.jpg")
    assert "'0001/holiday.jpg' does not" in refusal(tmp_path)


def test_records_and_tables_hold_the_images_of_a_csv(tmp_path):
    write_people(tmp_path / "set", ["anna", "ben", "cem"])
    (tmp_path / "set" / "own.csv").write_text(
        "split,identity,path,camera,hat,lower_leg.socks\n"
        "train,anna,anna/0.jpg,door,yes,red\n"
        f"train,cem,{tmp_path}/set/cem/1.jpg,hall,,blue\n"
        "query,ben,ben/1.jpg,hall,no,\n"
        "gallery,ben,ben/0.jpg,door,no,red\n"
        "gallery,-1,./anna/1.jpg,door,,\n"
    )
    tables = {
        split: open_table("folder", tmp_path / "set/own.csv", tmp_path / "records", split, 8, 8)
        for split in SPLITS
    }
    assert tables["train"].names.tolist() == ["anna/0.jpg", str(tmp_path / "set/cem/1.jpg")]
    assert tables["train"].identities.tolist() == [1, 3]
    assert tables["gallery"].identities.tolist() == [2, -1]
    assert tables["train"].cameras.tolist() == [1, 2]
    assert tables["train"].kinds == (
        Attribute("hat", "head", ("no", "yes")),
        Attribute("socks", "lower_leg", ("blue", "red")),
    )
    assert tables["train"].attributes["hat"].tolist() == [1, -1]
    assert tables["train"].attributes["socks"].tolist() == [1, 0]
    assert tables["gallery"].attributes["socks"].tolist() == [1, -1]


def test_byte_order_marks_windows_line_ends_blank_lines_and_spaces_are_no_part_of_a_csv(tmp_path):
    (tmp_path / "a b.jpg").touch()
    (tmp_path / "c,d.jpg").touch()
    path = tmp_path / "own.CSV"
    path.write_bytes(
        "\ufeffpath, identity ,camera,split,\r\n\r\n a b.jpg , Müller ,,,\r\n,,,,\r\n"
        '"c,d.jpg", "O""Hara",,,\r\n'.encode()
    )
    assert read(path) == {"whole": [("a b.jpg", 1, 0), ("c,d.jpg", 2, 0)]}


def test_a_known_attribute_keeps_its_classes_and_another_has_the_values_that_occur(tmp_path):
    rows = "hat,age,upper_colour,head.lower_length\nno,old,grey,7\nno,young,red,3\n"
    lines = [f"{i}.jpg,{i}," + line for i, line in enumerate(rows.splitlines())]
    lines[0] = "path,identity," + rows.splitlines()[0]
    _, kinds = read_csv(write_csv(tmp_path / "own.csv", "\n".join(lines)))
    market = {attribute.name: attribute for attribute in MARKET1501}
    peta = {attribute.name: attribute for attribute in PETA}
    assert kinds == (
        market["hat"],
        market["age"],
        peta["upper_colour"],  # Market-1501 has "gray"
        Attribute("lower_length", "head", ("3", "7")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'path': .* found nothing"),
        ("path,person\na.jpg,1", r"no column 'identity': .* found 'path', 'person'\."),
        ("path;identity\na.jpg;1", "found 'path;identity'. Separate the columns by commas"),
        ("path,identity\n", "a header and no rows"),
        ("path,identity\na.jpg,1,2", "line 2: 3 fields, but 2 columns"),
        ('path,identity\na.jpg,"1', "cannot be read as a CSV"),
        ("path,identity,identity\na.jpg,1,1", "two columns 'identity'"),
        ("path,identity\n\na.jpg,1\nb.jpg,", "line 4: the identity is empty"),
        ("path,identity\na.jpg,1\nb.jpg,anna", "'anna' in line 3, '1' in line 2. Use one kind"),
        ("path,identity\na.jpg,1.0", "'1.0' is neither a name nor a whole number"),
        ("path,identity\na.jpg,-2", "'-2' is neither"),
        ("path,identity\na.jpg,12345678901", "'12345678901' is neither"),
        ("path,identity\na.jpg,1\n./a.jpg,2", "line 3: './a.jpg' stands in line 2 too"),
        ("path,identity\nnotes.txt,1", "line 2: 'notes.txt' is no image"),
        ("path,identity,camera\na.jpg,1,1\nb.jpg,1,", "line 3: the camera is empty"),
        ("path,identity,camera\na.jpg,1,1\nb.jpg,1,0", "line 3: the camera is 0; number cameras"),
        ("path,identity,split\na.jpg,1,test", "line 2: the split is 'test', not one of train, q"),
        ("path,identity,split\na.jpg,1,train\nb.jpg,2,query", "no row of the split gallery"),
        ("path,identity,socks\na.jpg,1,red", "column 'socks', .* part.name, .* head, upper_body"),
        ("path,identity,leg.socks\na.jpg,1,red", "column 'leg.socks'"),
        ("path,identity,\na.jpg,1,red", "column ''"),
        ("path,identity,head.x y\na.jpg,1,red", "column 'head.x y'"),
        ("path,identity,hat,head.hat\na.jpg,1,yes,no", "two columns of the attribute 'hat'"),
        ("path,identity,head.x\na.jpg,1,red\nb.jpg,1,", "'head.x' has 1 different values"),
        (
            "path,identity,hat\na.jpg,1,no\nb.jpg,1,No",
            "column 'hat': the classes 'No' and 'no' seem to be one",
        ),
        ('path,identity,hat\na.jpg,1,no\nb.jpg,1,"a\nb"', r"cannot be printed, 'a\\nb'"),
        ("path,identity\na.jpg,1\nb.jpg,nan", "line 3: the identity is 'nan', which is nobody"),
        ("path,identity\na.jpg,anna\nb.jpg,None", "line 3: the identity is 'None', which is nob"),
        ("path,identity\na.jpg,N/A\nb.jpg,2", "line 2: the identity is 'N/A', which is nobody"),
        ("path,identity,camera\na.jpg,1,NULL\nb.jpg,1,2", "line 2: the camera is empty; give"),
        ("path,identity,camera\na.jpg,1,none\nb.jpg,1,A", "line 2: the camera is none; give"),
        ("path,identity\na.jpg,Anna\nb.jpg,anna", r"'Anna' \(line 2\) and 'anna' \(line 3\) seem"),
        ("path,identity\na.jpg,1\nb.jpg,01", r"the identities '1' \(line 2\) and '01' \(line 3\)"),
        ("path,identity,camera\na.jpg,1,Cam1\nb.jpg,1,cam1", "the cameras 'Cam1' .* and 'cam1' .*"),
        ("path,identity,camera\na.jpg,1,1\nb.jpg,1,1.0", "the cameras '1' .* and '1.0' .* seem"),
        (
            "path,identity,camera\na.jpg,1,a  b\nb.jpg,1,a b",
            "the cameras 'a  b' .* and 'a b' .* se",
        ),
        ("path,identity,head.x\na.jpg,1,red\nb.jpg,1,nan", "'head.x' has 1 different values"),
        ("path,identity" + ",hat" * 600, "has 602 columns, at most 500 are read"),
        ('path,identity\n"a\nb\x1b[31m.png",1', r"there is no image '.*/a\\nb\\x1b\[31m.png'"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_by_column_or_line(tmp_path, text, message):
    assert re.search(message, refusal(write_csv(tmp_path / "own.csv", text)))


def test_a_csv_that_is_no_text_or_names_an_image_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes("path,identity\nMüller.jpg,1\n".encode("utf-16"))
    assert "save it as comma-separated text in UTF-8" in refusal(path)
    path.write_text("path,identity\na.jpg,1\n")
    assert f"line 2: there is no image '{tmp_path}/a.jpg'" in refusal(path)
    many = [f"{i}.jpg,{i},v{i}" for i in range(51)]
    write_csv(path, "\n".join(["path,identity,head.name", *many]))
    assert "'head.name' has 51 different values, an attribute 2 to 50" in refusal(path)


def test_what_a_table_writes_for_nothing_is_no_class_but_none_may_be_one(tmp_path):
    rows = ["a.jpg,1,no,none", "b.jpg,1,NaN,bag", "c.jpg,2,yes,None", "d.jpg,2,,NA"]
    text = "\n".join(["path,identity,hat,upper_body.carried,camera", *(f"{x},nan" for x in rows)])
    splits, kinds = read_csv(write_csv(tmp_path / "own.csv", text))
    assert [kind.classes for kind in kinds] == [("no", "yes"), ("bag", "none")]
    labels = [dict(crop.attributes) for crop in splits["whole"]]
    assert labels == [{"hat": 0, "carried": 1}, {"carried": 0}, {"hat": 1}, {}]
    assert [crop.camera for crop in splits["whole"]] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "path", ["../out.jpg", "im/../../out.jpg", "/etc/out.jpg", "/etc/..in/o.jpg"]
)
def test_a_csv_names_no_image_outside_of_its_folder_unless_asked(tmp_path, path):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "out.jpg")
    csv_file = tmp_path / "in" / "own.csv"
    csv_file.write_text(f"path,identity\n{path},1\n")
    message = refusal(csv_file)
    assert f"line 2: '{path}' is not in {tmp_path}/in, the folder of the CSV" in message
    assert "--config.data.outside=true" in message
    csv_file.write_text("path,identity\n../out.jpg,1\n../out2.jpg,1\n")
    write_image(tmp_path / "out2.jpg", 1)
    with pytest.raises(InputError, match="is not in"):
        open_set("folder", csv_file, tmp_path / "records")
    builder = open_set("folder", csv_file, tmp_path / "records", outside=True)
    assert len(load_table(builder, "whole", 8, 8)) == 2


def test_a_field_as_long_as_a_book_is_refused_in_a_short_line(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("path,identity\n" + 200_000 * "x" + ".jpg,1")
    assert "cannot be read as a CSV (field larger" in refusal(path)
    path.write_text("path,identity\n" + 100_000 * "x" + ".jpg,1")
    assert len(refusal(path)) < 1000


def test_a_csv_that_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "own.csv")
    assert "it is no regular file" in refusal(tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["anna", "ben", "Anna"], "the people 'Anna' and 'anna' seem to be one"),
        (["Jos\xe9", "Jose\u0301"], r"the people 'Jose\\u0301' and 'Jos\\xe9' seem to be one"),
        (["1", "0001", "2"], "the people '0001' and '1' seem to be one"),
        (["anna", "nan"], "has a folder 'nan', which names nobody"),
    ],
)
def test_folders_of_people_that_are_one_or_nobody_are_refused(tmp_path, names, message):
    write_people(tmp_path / "set", names, images=1)
    assert re.search(message, refusal(tmp_path / "set"))


def test_folders_that_programs_leave_are_no_people(tmp_path):
    write_people(tmp_path, ["anna", "ben", "@eaDir", ".ipynb_checkpoints", "__MACOSX", "#recycle"])
    write_people(tmp_path / "anna", ["@eaDir", ".thumbnails", "Thumbs"])
    assert {number for _, number, _ in read(tmp_path)["whole"]} == {1, 2}


@pytest.mark.parametrize("folder", ["anna/door", "anna/door/monday", "cem/door"])
def test_images_below_a_person_are_refused_also_beside_others(tmp_path, folder):
    write_people(tmp_path, ["anna", "ben"])
    write_people(tmp_path / folder, ["more"])
    assert "holds images one level too deep, in " in refusal(tmp_path)


def test_images_below_those_of_market_are_refused(tmp_path):
    market = write_market(tmp_path / "set")
    write_people(market / "query", ["sub"])
    with pytest.raises(InputError, match="query holds images one level too deep, in sub"):
        open_set("market1501", market, tmp_path / "records")


def test_folders_of_splits_written_otherwise_are_no_people(tmp_path):
    for split in ("Train", "Query", "Gallery"):
        write_people(tmp_path, [split])
    assert re.search("(Train|Query|Gallery) is no split: write its name", refusal(tmp_path))


def test_a_distractor_is_refused_as_a_query(tmp_path):
    text = "path,identity,split\na.jpg,1,train\nb.jpg,0,query\nc.jpg,0,gallery\n"
    message = refusal(write_csv(tmp_path / "own.csv", text))
    assert "b.jpg has the identity 0, a distractor, and is in the split query" in message
    assert "number all people from 1" in message
    market = write_market(tmp_path / "set")
    write_image(market / "query" / "0000_c1s1_000001_00.jpg")
    with pytest.raises(InputError, match="is in the split query, which shows people"):
        open_set("market1501", market, tmp_path / "records")


@pytest.mark.parametrize(("identity", "kind"), [("-1", "junk"), ("0", "a distractor")])
def test_junk_and_distractors_are_refused_in_training(tmp_path, identity, kind):
    text = f"path,identity,split\na.jpg,{identity},train\nb.jpg,1,query\nc.jpg,1,gallery\n"
    message = refusal(write_csv(tmp_path / "own.csv", text))
    assert f"a.jpg has the identity {identity}, {kind}, and is in the split train" in message


def test_a_folder_that_is_no_set_is_refused_and_a_near_one_gets_a_hint(tmp_path):
    root = tmp_path / "set"
    assert f"There is no {root}: pass --config.data.source=" in refusal(root)
    root.mkdir()
    assert "holds no image (.jpg, .jpeg, .png, .bmp)" in refusal(root)
    assert "found an empty folder" in refusal(root)
    (root / "notes.txt").write_text("hello")
    (root / "empty").mkdir()
    assert "found 'empty', 'notes.txt'." in refusal(root)
    assert "notes.txt is neither a folder nor a .csv" in refusal(root / "notes.txt")
    write_people(root / "own", ["anna", "ben"])
    assert f"one level deeper, at {root / 'own'}" in refusal(root)
    assert len(read(root / "own")["whole"]) == 4
    write_people(root / "own" / "cem", ["door"])
    assert "cem holds images one level too deep" in refusal(root / "own")


def test_splits_that_are_missing_empty_or_given_alone_are_refused(tmp_path):
    for split in ("train", "query"):
        write_people(tmp_path / split, ["anna", "ben"])
    assert "has train, query but no folder gallery or bounding_box_test" in refusal(tmp_path)
    (tmp_path / "gallery").mkdir()
    assert "gallery holds no image" in refusal(tmp_path)
    write_people(tmp_path / "gallery" / "images", ["anna"])
    assert f"one level deeper, at {tmp_path / 'gallery/images'}" in refusal(tmp_path)
    assert f"query is one split of a set: pass the folder above it, {tmp_path}" in refusal(
        tmp_path / "query"
    )


def test_two_kinds_in_one_folder_are_refused(tmp_path):
    market = write_market(tmp_path / "a")
    write_image(market / "query" / "holiday.jpg")
    assert "holiday.jpg' is not named like an image" in refusal(market)
    assert "Or use a folder for each person, or a CSV." in refusal(market)
    (market / "query" / "holiday.jpg").unlink()
    write_people(market / "query", ["anna"])
    assert "it holds images, such as '0001_c1s1_001051_00.jpg', and folders" in refusal(market)
    for name in QUERY:
        (market / "query" / name).unlink()
    assert "gallery, train holds images, query a folder for each person" in refusal(market)


@pytest.mark.parametrize("content", [b"", b"no image at all", "cut"])
def test_a_file_that_is_no_image_is_named_and_leaves_no_records(tmp_path, content):
    write_people(tmp_path / "set", ["anna", "ben"])
    broken = tmp_path / "set" / "ben" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:600] if content == "cut" else content)
    with pytest.raises(InputError, match=r"ben/1\.jpg cannot be read as an image.* in its pl"):
        open_set("folder", tmp_path / "set", tmp_path / "records")
    assert not left(tmp_path / "records")


def test_what_a_set_of_ones_own_cannot_take_is_refused(tmp_path):
    write_people(tmp_path / "set", ["anna", "ben"])
    (tmp_path / "labels.mat").touch()
    with pytest.raises(InputError, match=r"takes no attribute file, got .*labels\.mat"):
        open_set("folder", tmp_path / "set", tmp_path, attributes=tmp_path / "labels.mat")
    (tmp_path / "set" / "ben" / "2.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match=r"ben/2\.jpg' cannot be read"):
        open_set("folder", tmp_path / "set", tmp_path)


def test_a_file_name_that_is_not_unicode_is_refused(tmp_path):
    write_people(tmp_path / "set", ["anna", "ben"])
    write_image(tmp_path / "set" / "ben" / "M\udcfcller.jpg")
    with pytest.raises(InputError, match=r"M\\udcfcller\.jpg' cannot be read"):
        open_set("folder", tmp_path / "set", tmp_path)


def write_joints(path, files):
    """One person in every image, all joints at (1, 2) times the image's number."""
    keypoints = [f"{i}" for i in range(5)] + list(JOINTS[2:14])
    person = {"category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 0, "num_keypoints": 17}
    content = {
        "categories": [{"id": 1, "name": "person", "keypoints": keypoints}],
        "images": [{"id": i, "file_name": file} for i, file in enumerate(files)],
        "annotations": [
            {**person, "id": i, "image_id": i, "segmentation": [], "keypoints": [i, 2 * i, 2] * 17}
            for i in range(len(files))
        ],
    }
    path.write_text(json.dumps(content))
    return path


def test_joints_are_found_by_folder_and_name_and_never_given_to_another_image(tmp_path):
    write_people(tmp_path / "set", ["anna", "ben"])
    names = ["ben/1.jpg", "anna/1.jpg", "anna/0.jpg"]
    joints = write_joints(tmp_path / "joints.json", names)
    builder = open_set("folder", tmp_path / "set", tmp_path / "records", joints=joints)
    found = load_table(builder, "whole", 128, 64)
    assert found.names.tolist() == ["anna/0.jpg", "anna/1.jpg", "ben/0.jpg", "ben/1.jpg"]
    elbow = found.joints[:, 0, JOINTS.index("left_elbow")]
    assert elbow.tolist() == [[2, 4, 2], [1, 2, 2], [0, 0, -1], [0, 0, 2]]
    write_joints(joints, ["1.jpg"])
    with pytest.raises(InputError, match=r"for 1\.jpg, which may be anna/1\.jpg or ben/1\.jpg"):
        open_set("folder", tmp_path / "set", tmp_path / "records", joints=joints)
    write_joints(joints, ["2.jpg"])
    with pytest.raises(InputError, match=r"names none of the images, such as 0\.jpg"):
        open_set("folder", tmp_path / "set", tmp_path / "records", joints=joints)


# Text that a cell can hold: spaces at its ends are no part of it.
cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text == text.strip()
)
cell = cell.filter(lambda text: not names.is_missing(text))
name = cell.filter(lambda text: not re.match(r"[-+]?[0-9]", text))
file_name = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20
).filter(lambda text: text == text.lstrip() and text not in (".", ".."))


@st.composite
def sheets(draw):
    """The rows of a CSV: (path, identity, camera, split, attribute)."""
    files = draw(st.lists(file_name, min_size=3, max_size=6, unique=True))
    identity = draw(st.sampled_from([st.integers(1, 999999999).map(str), name]))
    camera = draw(st.sampled_from([st.integers(1, 99).map(str), name, st.just("")]))
    split = draw(st.sampled_from([st.sampled_from(SPLITS), st.just("")]))
    splits = draw(st.lists(split, min_size=len(files), max_size=len(files)))
    assume(len(set(splits)) in (1, 3) and (set(splits) == {""} or len(set(splits)) == 3))
    values = draw(st.lists(cell.filter(str.isprintable), min_size=2, max_size=4))
    values = list({names._folded(value): value for value in values}.values())
    assume(len(values) > 1)
    labels = values + draw(
        st.lists(st.sampled_from([*values, ""]), min_size=len(files), max_size=len(files))
    )
    rows = [
        [f"{file}.jpg", draw(identity), draw(camera), splits[row], labels[row]]
        for row, file in enumerate(files)
    ]
    assume(len({row[4] for row in rows} - {""}) > 1)
    for column in (1, 2):
        written = {row[column] for row in rows}
        assume(len(set(map(names._folded, written))) == len(written))
    return rows


@settings(max_examples=60, deadline=None)
@given(rows=sheets(), line=st.sampled_from(["\n", "\r\n"]), mark=st.sampled_from(["", "\ufeff"]))
def test_a_table_written_as_a_csv_comes_back_equal(rows, line, mark):
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            (Path(folder) / row[0]).touch()
        path = Path(folder) / "own.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(mark)
            writer = csv.writer(file, lineterminator=line)
            writer.writerows([["path", "identity", "camera", "split", "head.thing"], *rows])
        splits, kinds = read_csv(path)

    def number(values):
        if all(value.isascii() and value.isdigit() for value in values):
            return {value: int(value) for value in values}
        return {value: index for index, value in enumerate(sorted(set(values)), 1)}

    people, cameras = (number([row[column] for row in rows]) for column in (1, 2))
    assert kinds[0].classes == tuple(sorted({row[4] for row in rows} - {""}))
    for split, crops in splits.items():
        wanted = [
            (file, people[identity], cameras[camera] if camera else 0, label)
            for file, identity, camera, s, label in rows
            if (s or "whole") == split
        ]
        found = [
            (c.name, c.identity, c.camera, kinds[0].classes[c.attributes["thing"]])
            if c.attributes
            else (c.name, c.identity, c.camera, "")
            for c in crops
        ]
        assert found == wanted


def result(function, *arguments):
    """What a function gives, or the message of its InputError."""
    try:
        return function(*arguments), ""
    except InputError as error:
        return None, str(error)


@given(
    identity=st.integers(-1, 999999999),
    camera=st.integers(1, 999999999),
    digits=st.integers(1, 6),
    rest=st.text(max_size=10).filter(lambda text: not re.match(r"[0-9]", text)),
)
def test_names_in_the_manner_of_market_are_read_back(identity, camera, digits, rest):
    name = f"{identity:0{digits}d}" if identity >= 0 else "-1"
    # A path ends a name at a slash.
    rest = rest.replace("/", "_") + ".jpg"
    assert parse_name(Path(f"{name}_c{camera}{rest}")) == (identity, camera)


@given(st.text(max_size=30) | st.from_regex(r"-?[0-9]{1,12}_c?[0-9]*[a-z_.]*"))
def test_any_other_name_is_refused_in_one_line(text):
    found, message = result(parse_name, Path(text))
    assert len(message.splitlines()) <= 1
    if found:
        assert -1 <= found[0] < 2**31 > found[1] > 0
        assert int(Path(text).name.split("_c")[0]) == found[0]


LABELS = st.sampled_from(
    ["personalMale", "personalFemale", "hairShort", "upperBodyRed", "footwearBoots", "1", "12_a"]
)


@settings(deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.lists(LABELS | st.text(max_size=5)).map(" ".join)).map(
        lambda lines: "\n".join(lines).encode("utf-8", "replace")
    )
)
def test_no_text_breaks_the_labels_of_peta(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Label.txt"
        path.write_bytes(content)
        found, message = result(read_labels, path)
    assert len(message.splitlines()) <= 1
    for labels in (found or {}).values():
        assert set(labels) == {attribute.name for attribute in PETA}
        assert all(-1 <= labels[a.name] < len(a.classes) for a in PETA)


@given(st.lists(LABELS | st.text()))
def test_any_labels_of_peta_give_a_class_or_none(labels):
    found = classes(labels)
    assert all(-1 <= found[a.name] < len(a.classes) for a in PETA)
    np.testing.assert_equal(classes([*labels, *labels]), found)
