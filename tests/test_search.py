"""The command line of galleries, from crops to answers."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from tiny import HEIGHT, WIDTH, numpy_variables

from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, checkpoint_folder
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.retrieval.crop_lists import list_crops
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.grouping import Groups
from fgsam_jax.retrieval.people import group_gallery, write_groups
from fgsam_jax.retrieval.rows import Row, seconds
from fgsam_jax.visualization import found

TOOL = Path(__file__).parents[1] / "tools" / "search.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("search", TOOL)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of random weights, and crops of two cameras, one of them broken."""
    folder = tmp_path_factory.mktemp("search")
    checkpoints = Checkpoints(checkpoint_folder(folder / "run", "full"), create=True)
    info = CheckpointInfo(tiny.config(Path("unused")), "full", tiny.PEOPLE, MARKET1501)
    variables = numpy_variables(tiny.model("fgsam"))
    checkpoints.save(1, {"variables": variables}, info.to_dict())
    checkpoints.wait()
    random = np.random.default_rng(0)
    for camera in ("cam1", "cam2"):
        (folder / "crops" / camera).mkdir(parents=True)
        for n in range(3):
            pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "crops" / camera / f"20260102T03040{n}.png")
    (folder / "crops" / "cam1" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def called(tool, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(tool.startup, "tune", lambda: None)

    def call(*arguments):
        tool.main([*arguments, "--gallery", "people"])
        return capsys.readouterr().out

    return call


def test_index_adds_what_is_new_and_lists_what_is_broken(called):
    first = called("index", "crops", "--run", "run")
    assert "left out: crops/cam1/broken.png" in first
    assert "added 6 crops, 0 were there before, 1 left out; the gallery has 6" in first
    assert "added 0 crops, 6 were there before" in called("index", "crops", "--run", "run")


def test_index_tells_of_how_many_crops_camera_time_and_person_are_known(tool, place, capsys):
    for n, folder in enumerate(("carpark", "entrance")):
        (place / "sites" / folder).mkdir(parents=True)
        pixels = np.full((HEIGHT, WIDTH, 3), 90 * n, np.uint8)
        Image.fromarray(pixels).save(place / "sites" / folder / "20260102T030400.png")
    folders = [str(place / "sites" / folder) for folder in ("carpark", "entrance")]

    def indexed(gallery, *arguments):
        given = ["--run", str(place / "run"), "--gallery", str(place / gallery)]
        tool.main(["index", *arguments, *given, "--root", str(place)])
        return capsys.readouterr().out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool.startup, "tune", lambda: None)
        plain = indexed("plain", *folders)
        parent = indexed("parent", str(place / "sites"))
        named = indexed("named", str(place / "sites"), "--camera-folders")
    assert "2 crops: camera of 0, time of 2, person of 0\n" in plain
    assert "a CSV with the columns path,camera,time" in plain
    assert "person of 2: 2 people, carpark and entrance\n" in parent
    assert "2 crops: camera of 2, time of 2, person of 0\n" in named
    assert "no camera is known" not in named
    with Gallery.open(place / "named") as gallery:
        assert gallery.cameras() == {"carpark": 1, "entrance": 1}


def test_find_ranks_the_crop_itself_first_and_keeps_to_the_filters(called, place):
    query = "crops/cam2/20260102T030401.png"
    lines = called("find", query, "-k", "3", "--picture", "found.png").splitlines()
    assert lines[0] == query
    assert lines[1].split() == ["rank", "distance", "camera", "time", "name"]
    assert lines[2].split() == ["1", "0.000", "2", "2026-01-02", "03:04:01", query]
    with Image.open(place / "found.png") as picture:
        assert picture.width > picture.height
    asked = ("--camera", "1", "--from", "2026-01-02T03:04:01", "--json")
    (found,) = json.loads(called("find", query, *asked))
    assert found["nobody"] is None
    assert {x["name"] for x in found["found"]} == {
        "crops/cam1/20260102T030401.png", "crops/cam1/20260102T030402.png"}  # fmt: skip
    assert "crops/cam1" in called("find", "crops/cam2", "--re-rank", "-k", "6")


def test_find_says_nobody_beyond_the_threshold(called, monkeypatch):
    with Gallery.open("people") as gallery:
        gallery.note(threshold={"distance": 1e-9})
    asked = ("find", "crops/cam1/20260102T030401.png", "--picture", "found.png", "--camera", "2")
    drawn = []
    draw = found.draw.ranked_lists
    monkeypatch.setattr(
        found.draw, "ranked_lists", lambda *x, **y: (drawn.append(y), draw(*x, **y))[1]
    )
    assert "nobody within 0.000" in called(*asked)
    called(*asked[:-1], "gate")
    assert [x["query_captions"] for x in drawn] == [["nobody"], ["no crop"]]


def test_find_narrows_by_attributes_in_words(called):
    with Gallery.open("people") as gallery:
        females = {x.name for x in gallery.rows() if x.attributes["gender"]["female"] > 0.5}
        sexes = {"female": females, "male": {x.name for x in gallery.rows()} - females}
    query = "crops/cam1/20260102T030401.png"
    for sex, names in sexes.items():
        for more in ((), ("--re-rank",)):
            (answer,) = json.loads(
                called("find", query, "--who", f"{sex}, umbrella", *more, "--json")
            )
            assert {x["name"] for x in answer["found"]} == names
            assert (answer["understood"], answer["unknown"]) == ({"gender": sex}, ["umbrella"])
    assert called("find", query, "--who", "woman").startswith("understood: gender female\n")
    with pytest.raises(InputError, match="no word of 'umbrella' is known here"):
        called("find", query, "--who", "umbrella")


def test_where_no_crop_passes_the_filters_the_cameras_are_named(called):
    why = "no crop passes the filters; cameras: 1, 2"
    query = "crops/cam1/20260102T030401.png"
    assert called("find", query, "--camera", "gate").splitlines() == [query, why, ""]
    (answer,) = json.loads(called("find", query, "--camera", "gate", "--json"))
    assert (answer["nobody"], answer["nothing"], answer["found"]) == (None, why, [])
    assert called("who", "woman", "--camera", "gate").splitlines()[-1] == why
    assert json.loads(called("who", "woman", "--json"))["nothing"] is None


def test_a_time_or_a_word_that_no_crop_has_is_named(called, labelled, place, capsys):
    query = str(place / "known" / "0001_c1_0.png")
    labelled("find", query, "--from", "2026-01-01")
    assert capsys.readouterr().out.splitlines()[1:] == ["no crop of this gallery has a time", ""]
    labelled("who", "woman", "--words", "gate")
    assert capsys.readouterr().out.endswith("no crop of this gallery has the word 'gate'\n")
    late = called("who", "woman", "--from", "2027-01-01").splitlines()
    assert late[-1] == "no crop passes the filters"


def test_a_picture_from_another_folder_asks_for_the_root(called, place):
    query = "crops/cam1/20260102T030401.png"
    with pytest.raises(InputError, match=r"there is no .*: pass --root with the folder"):
        called("find", query, "--picture", "a.png", "--root", "crops")


def test_where_nothing_is_found_no_older_picture_stays(called, place):
    called("who", "woman", "--picture", "answer.png")
    assert (place / "answer.png").exists()
    printed = called("who", "woman", "--camera", "gate", "--picture", "answer.png").splitlines()
    assert printed[1:] == ["no crop passes the filters; cameras: 1, 2"]
    assert not (place / "answer.png").exists()


def test_a_name_of_a_file_cannot_speak_to_the_terminal(called, place):
    query = place / "\x1b[31mred.png"
    query.write_bytes((place / "crops" / "cam1" / "20260102T030400.png").read_bytes())
    assert called("find", str(query), "-k", "1").startswith(f"{place}/\\x1b[31mred.png")


def test_a_crop_whose_camera_cannot_be_kept_is_left_out(called, place):
    crop = "crops/cam1/20260102T030400.png"
    (place / "long.csv").write_text(f"path,camera\n{crop},{'x' * 1001}\n")
    printed = called("index", "long.csv", "--run", "run")
    assert f"left out: {crop}: the camera" in printed
    assert "added 0 crops, 0 were there before, 1 left out" in printed


def test_who_tells_what_it_understood_and_what_not(called, place):
    printed = called("who", "woman, umbrella", "--picture", "who.png").splitlines()
    assert printed[:2] == ["understood: gender female", "not known to this model: umbrella"]
    assert len(printed) == 3 + 6
    assert (place / "who.png").stat().st_size > 1000
    found = json.loads(called("who", "woman", "--json", "-k", "1"))["found"]
    assert found[0]["probability"] == pytest.approx(
        found[0]["attributes"]["gender"]["female"], abs=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["who", "umbrella"], "nothing was asked for that is known here"),
        (["find", "nowhere.jpg"], "there is no nowhere.jpg"),
        (["find", "crops/cam1/broken.png"], "broken.png"),
        (["index", "crops", "--run", "crops"], "holds no run"),
        (["index", "/", "--run", "run", "-k"], "unrecognized arguments"),
    ],
)
def test_a_mistake_is_told_in_one_line(called, arguments, message):
    with pytest.raises(InputError, match=message):
        called(*arguments)


@pytest.fixture(scope="module")
def labelled(tool, place):
    """A gallery of eight people, four crops each, by two cameras."""
    random = np.random.default_rng(1)
    (place / "known").mkdir()
    for person in range(1, 9):
        look = random.integers(0, 200, (HEIGHT, WIDTH, 3))
        for n in range(4):
            pixels = (look + random.integers(0, 56, look.shape)).astype(np.uint8)
            Image.fromarray(pixels).save(place / "known" / f"{person:04}_c{n % 2 + 1}_{n}.png")
    Image.fromarray(pixels).save(place / "known" / "-1_c1_0.png")

    def call(*arguments):
        tool.main([*arguments, "--gallery", str(place / "known people"), "--root", str(place)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool.startup, "tune", lambda: None)
        call("index", str(place / "known"), "--run", str(place / "run"))
        yield call


def test_a_threshold_of_known_people_is_kept_and_compare_uses_it(labelled, place, capsys):
    files = [str(place / "known" / f"000{n}_c1_0.png") for n in (1, 2)]
    labelled("compare", *files)
    assert "no threshold is known" in capsys.readouterr().out
    labelled("threshold", "--false-match-rate", "0.05")
    printed = capsys.readouterr().out
    assert "at a false-match rate of 0.05, from 8 people; kept in the gallery" in printed
    assert "calibration error" in printed
    with Gallery.open(place / "known people") as gallery:
        kept = gallery.about["threshold"]
    learned = kept["learned"]
    rate, share = learned["false_match_rate"], learned["true_match_rate"]
    assert (learned["of_two"], learned["of_one"]) == (8 * 7 * 4, 8 * 4)
    assert (
        f"at this threshold, on all pairs: false-match rate {rate:.2g} of 224 pairs of two people"
        in printed
    )
    assert f"true-match rate {share:.3f} of 32 of one\n" in printed
    assert f"half of the people (threshold {learned['half_distance']:.3f}, the mean" in printed
    assert "0.05 is about 11 of 224 pairs: fewer than 30 tell a rate badly" in printed
    low, high = kept["interval"]
    assert low <= kept["distance"] <= high
    labelled("compare", *files, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["same"] == (found["distance"] <= kept["distance"])
    assert found["threshold"] == kept
    parts = [part["squared_distance"] for part in found["parts"].values()]
    assert np.mean(parts) == pytest.approx(found["distance"] ** 2, abs=1e-6)
    labelled("compare", files[0], files[0], "--picture", str(place / "why.png"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("match: distance 0.000, within the threshold")
    assert sum(line.startswith(("head ", "whole body ", "gender ")) for line in lines) == 3
    with Image.open(place / "why.png") as picture:
        assert picture.width > picture.height > 2 * 256


def test_a_threshold_goes_into_a_gallery_of_unknown_people(labelled, place, capsys):
    labelled("threshold", "--false-match-rate", "0.05")
    shutil.copytree(place / "known people", place / "unknown")
    for folder in ("known people", "unknown"):
        with Gallery.open(place / folder) as gallery:
            kept = gallery.about["threshold"]
            gallery.note(threshold=None)
    labelled("threshold", "--false-match-rate", "0.05", "--to", str(place / "unknown"))
    assert f"kept in the gallery {place / 'unknown'}\n" in capsys.readouterr().out
    with Gallery.open(place / "unknown") as gallery:
        assert gallery.about["threshold"] == kept
    with Gallery.open(place / "known people") as gallery:
        assert gallery.about["threshold"] is None


def test_groups_are_a_list_that_index_takes(labelled, place, capsys):
    labelled("group", "--to", str(place / "groups.csv"), "--crops-each", "4")
    assert "groups of" in capsys.readouterr().out
    lines = (place / "groups.csv").read_text().splitlines()
    assert lines[0] == "path,identity,camera,sureness"
    assert len(lines) == 1 + 33
    crops = list_crops([place / "groups.csv"], place)
    assert {crop.path.exists() for crop in crops} == {True}
    with Gallery.open(place / "known people") as gallery:
        rows, groups = group_gallery(gallery, 4)
    assert {x.name: (x.identity, x.camera) for x in crops} == {
        row.name: (str(n), row.camera) for row, n in zip(rows, groups.group, strict=True)
    }


def test_groups_keep_time_and_words_where_they_are_known(tmp_path):
    times = [None, seconds("2026-01-02T03:04:05.5")]
    words = [(), ("tall", "red-bag")]
    rows = [Row(f"{n}.jpg", time=times[n], words=words[n]) for n in range(2)]
    groups = Groups(np.zeros(2, int), np.array([0.5, 0.9]))
    write_groups(tmp_path / "groups.csv", rows, groups, tmp_path)
    lines = (tmp_path / "groups.csv").read_text().splitlines()
    assert lines[0] == "path,identity,time,words,sureness"
    crops = list_crops([tmp_path / "groups.csv"], tmp_path)
    assert [x.name for x in crops] == ["1.jpg", "0.jpg"]
    assert [x.time and seconds(x.time) for x in crops] == times[::-1]
    assert [x.words for x in crops] == words[::-1]


def test_crops_without_people_give_no_threshold(called):
    with pytest.raises(InputError, match="no crop of the gallery has an identity"):
        called("threshold")
