from pathlib import Path

import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.crop_lists import list_crops


def made(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def told(folder, root=None):
    crops = list_crops([folder], root or folder)
    return {x.name: (x.identity, x.camera, x.time) for x in crops}


def test_names_tell_camera_time_and_person(tmp_path):
    made(
        tmp_path / "crops",
        "0002_c3s1_000451_03.jpg", "-1_c2s1_000451_03.jpg", "cam12/20260102T030405.png",
        "camera_2/2026-01-02_03-04-05_7.bmp", "anna/1.jpg", "ben/c4_2.jpg", "query/x.jpg",
        "abc3.jpg", "cam1/20269902T030405.jpg", "notes.txt", ".hidden/1.jpg",
    )  # fmt: skip
    at = 1767323045.0
    assert told(tmp_path / "crops") == {
        "0002_c3s1_000451_03.jpg": ("2", "3", None),
        "-1_c2s1_000451_03.jpg": ("-1", "2", None),
        "cam12/20260102T030405.png": (None, "12", at),
        "camera_2/2026-01-02_03-04-05_7.bmp": (None, "2", at),
        "anna/1.jpg": ("anna", None, None),
        "ben/c4_2.jpg": ("ben", "4", None),
        "query/x.jpg": (None, None, None),
        "abc3.jpg": (None, None, None),
        "cam1/20269902T030405.jpg": (None, "1", None),
    }


def test_a_folder_of_a_camera_may_be_given_itself(tmp_path):
    made(tmp_path, "cam1/a.jpg", "cam2/a.jpg")
    crops = list_crops([tmp_path / "cam1", tmp_path / "cam2", tmp_path / "cam1"], tmp_path)
    assert [(x.name, x.camera) for x in crops] == [("cam1/a.jpg", "1"), ("cam2/a.jpg", "2")]


def test_a_csv_tells_what_its_columns_say(tmp_path):
    lists = made(tmp_path, "images/a.jpg", "images/b.jpg") / "images" / "list.csv"
    lists.write_text(
        "path,camera,time,words,identity\n"
        "a.jpg,gate,2026-01-02T03:04:05,tall limping,anna\n"
        "b.jpg,,,,\n"
    )
    first, second = list_crops([lists], tmp_path)
    assert (first.name, first.camera, first.identity) == ("images/a.jpg", "gate", "anna")
    assert (first.time, first.words) == ("2026-01-02T03:04:05", ("tall", "limping"))
    assert (second.camera, second.identity, second.time, second.words) == (None, None, None, ())


def test_an_image_outside_of_the_root_is_refused(tmp_path):
    made(tmp_path, "a/1.jpg", "b/2.jpg")
    with pytest.raises(InputError, match="pass --root with a folder above it"):
        list_crops([tmp_path / "a"], tmp_path / "b")
    (tmp_path / "b" / "list.csv").write_text("path\n../a/1.jpg\n")
    with pytest.raises(InputError, match="is not in"):
        list_crops([tmp_path / "b" / "list.csv"], tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "there is no"), ("empty", "holds no image"), ("bad.csv", "has no column 'path'")],
)
def test_what_is_no_list_of_crops_is_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("file\na.jpg\n")
    with pytest.raises(InputError, match=message):
        list_crops([tmp_path / name], Path(tmp_path))
