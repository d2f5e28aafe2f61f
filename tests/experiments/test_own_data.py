"""From a folder for each person, without attributes and cameras, to the printed tables."""

import dataclasses
import json
import shutil

import pytest
import tiny
from trees import write_image

from fgsam_jax.config import Data, Log, Phase, PoseData
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import restored_results
from fgsam_jax.experiments.run import run_experiment
from fgsam_jax.training.loop import train

# With six people of eight images in training its programs are those of other tests' runs.
BASE = tiny.BASE
BOTH = Phase("both", "Both", "intermediate", start_from=("base",), batch=8)
FULL = Phase("full", "Full", "fgsam", ("both",), "focal", batch=8, images_per_identity=2)


def config(source, records, phases=(BASE, BOTH, FULL), **changes):
    data = Data("folder", str(source), "", str(records), tiny.HEIGHT, tiny.WIDTH)
    return tiny.config(source, phases, data=data, log=Log(pictures=False), **changes)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Twelve people with eight images each."""
    root = tmp_path_factory.mktemp("own") / "set"
    for person in range(12):
        (root / f"person {person:02}").mkdir(parents=True)
        for number in range(8):
            write_image(root / f"person {person:02}" / f"{number}.jpg", 8 * person + number)
    return root


def lines_of(given, workdir):
    """What a run says."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("experiments.run", "training.loop"):
            patch.setattr(f"fgsam_jax.{module}.say", lines.append)
        run_experiment(given, workdir, training=True)
    return "\n".join(lines)


def test_all_phases_run_without_attributes_and_cameras_and_the_rule_is_printed(people, tmp_path):
    text = lines_of(config(people, tmp_path / "records"), tmp_path / "run")
    assert "No cameras are known: the whole gallery counts" in text
    assert "Attributes of" not in text
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results) == ["base", "both", "full"]
    for result in results.values():
        assert result["evaluation"]["same_camera"] == "keep"
        assert result["evaluation"]["attributes"] == {}
        assert result["evaluation"]["scores"]["valid_queries"] == 6


def test_two_runs_draw_two_splits_and_end_in_the_table_of_their_spread(people, tmp_path):
    text = lines_of(config(people, tmp_path / "records", (BASE,), repeats=2), tmp_path / "run")
    assert "2 runs side by side" in (tmp_path / "run" / "report.html").read_text()
    heads, row, *_ = text.split("Mean and standard deviation of 2 runs:\n")[1].splitlines()
    assert heads.split()[0] == "rank-1"
    assert row.startswith("Base ")
    assert row.count("±") == 8
    folders = [tmp_path / "run" / f"seed{seed}" for seed in (0, 1)]
    configs = [json.loads((folder / "config.json").read_text()) for folder in folders]
    assert [c["data"]["split_seed"] for c in configs] == [0, 1]
    scores = [json.loads((folder / "results.json").read_text())["base"] for folder in folders]
    assert scores[0]["map"] != scores[1]["map"]


def test_a_folder_with_a_run_on_another_set_is_refused(people, tmp_path):
    given = config(people, tmp_path / "records", (BASE,))
    train(given, tmp_path / "run", Datasets(given))
    # As many people with as many images, but others.
    rows = [f"{path},{100 - int(path.parent.name[-2:])}" for path in people.rglob("*.jpg")]
    (tmp_path / "own.csv").write_text("\n".join(["path,identity", *rows]))
    other = config(tmp_path / "own.csv", tmp_path / "records", (BASE,))
    other.data.outside = True
    with pytest.raises(InputError, match="holds a run on another set: the training images of base"):
        train(other, tmp_path / "run", Datasets(other))


def listed(people, folder, change=lambda row: row):
    """A run on a CSV of the people with cameras and splits, its rows perhaps changed."""
    if not (folder / "set").exists():
        (folder / "set").symlink_to(people)
    rows = ["path,identity,camera,split"]
    for image in sorted(people.rglob("*.jpg")):
        person, number = int(image.parent.name[-2:]), int(image.stem)
        split = "train" if person < 6 else "gallery" if number else "query"
        place = f"set/{image.relative_to(people)}"
        rows.append(",".join(change([place, f"p{person:02}", "AB"[number % 2], split])))
    (folder / "own.csv").write_text("\n".join(rows))
    return config(folder / "own.csv", people.parent / "records", (BASE,))


def again(given, workdir):
    return train(given, workdir, Datasets(given))


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory):
    """A run on such a CSV."""
    folder = tmp_path_factory.mktemp("listed")
    again(listed(people, folder), folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that run."""
    return shutil.copytree(finished, tmp_path / "run")


def exchanged(row):
    """Other people behind the images of the gallery."""
    place, person, camera, split = row
    return [
        place,
        f"p{6 + (int(person[1:]) - 5) % 6:02}" if split == "gallery" else person,
        camera,
        split,
    ]


def test_finished_phases_are_scored_anew_when_the_test_images_have_changed(people, run, tmp_path):
    (first,) = json.loads((run / "results.json").read_text()).values()
    assert again(listed(people, tmp_path), run) == [first]
    given = listed(people, tmp_path, exchanged)
    (second,) = again(given, run)
    (true,) = restored_results(given, run, Datasets(given))
    assert second["map"] == true["map"] != first["map"]
    assert second["seconds"] == first["seconds"]
    written = json.loads((run / "results.json").read_text())
    assert written["base"]["map"] == true["map"]


def test_a_best_checkpoint_chosen_on_other_test_images_is_refused(people, run, tmp_path):
    best = dataclasses.replace(listed(people, tmp_path, exchanged), restore="best")
    with pytest.raises(InputError, match="best checkpoint of base was chosen on other test images"):
        again(best, run)


def test_a_run_notices_other_pixels_behind_the_names_of_its_training_images(people, run, tmp_path):
    shutil.copytree(people, tmp_path / "set")
    given = listed(people, tmp_path)
    assert again(given, run)  # a copy is the same set
    write_image(tmp_path / "set" / "person 00" / "0.jpg", 999)
    with pytest.raises(InputError, match="holds a run on another set: the training images of base"):
        again(given, run)


def test_queries_that_are_in_the_gallery_are_told_beside_the_figures(people, run, tmp_path):
    copies = {"06/1.jpg": "06/0.jpg", "07/1.jpg": "07/0.jpg"}
    (tmp_path / "copies").symlink_to(people)

    def copied(row):
        end = row[0][-len("06/1.jpg") :]
        return [f"copies/person {copies[end]}", *row[1:]] if end in copies else row

    lines = lines_of(listed(people, tmp_path, copied), run)
    assert "2 of 6 query images are gallery images too, byte for byte" in lines
    results = json.loads((run / "results.json").read_text())
    assert results["base"]["headline"].endswith("(2 of 6 queries are gallery images too)")


def test_branches_that_nothing_teaches_are_refused_before_training(people, tmp_path):
    idle = dataclasses.replace(FULL, triplet="none")
    given = config(people, tmp_path / "records", (BASE, BOTH, idle))
    with pytest.raises(InputError, match="full: nothing teaches the branches head, upper_body"):
        train(given, tmp_path / "run", Datasets(given))
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ("anna,1", "cem,2", "none of the 1 query identities occurs in the gallery"),
        ("anna,1", "anna,1", "its query's own camera: .* or a set without cameras"),
        ("anna,1", "-1,2", r"all 1 gallery images have the identity -1 \(junk\)"),
        ("-1,1", "anna,1", "every query has the identity -1"),
    ],
)
def test_an_evaluation_that_can_find_nothing_is_refused_before_training(
    people, tmp_path, query, gallery, message
):
    (tmp_path / "set").symlink_to(people)
    images = [path.relative_to(people) for path in sorted(people.rglob("*.jpg"))]
    rows = [f"set/{images[i]},person {i % 4},1,train" for i in range(16)]
    rows += [f"set/{images[16]},{query},query", f"set/{images[17]},{gallery},gallery"]
    csv = tmp_path / "own.csv"
    csv.write_text("\n".join(["path,identity,camera,split", *rows]))
    given = config(csv, tmp_path / "records", (BASE,))
    with pytest.raises(InputError, match=message):
        train(given, tmp_path / "run", Datasets(given))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_is_never_judged_on_people_it_was_trained_on(people, tmp_path):
    own = shutil.copytree(people, tmp_path / "own")
    given = config(own, tmp_path / "records", (BASE,))
    train(given, tmp_path / "run", Datasets(given))
    other = dataclasses.replace(given, data=dataclasses.replace(given.data, split_seed=1))
    with pytest.raises(InputError, match="trained on the split drawn with split_seed=0"):
        restored_results(other, tmp_path / "run", Datasets(other))
    shutil.copytree(own / "person 03", own / "person 99")  # others are drawn now
    with pytest.raises(InputError, match="has changed since base was trained, and with it the spl"):
        restored_results(given, tmp_path / "run", Datasets(given))


def test_the_pose_net_learns_from_nobody_who_is_tested(people, tmp_path):
    joints = tmp_path / "joints.json"
    images = [str(path.relative_to(people)) for path in sorted(people.rglob("*.jpg"))]
    nose = {"category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [3, 3, 2], "num_keypoints": 1}
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(images)],
        "annotations": [{"id": i, "image_id": i, **nose} for i in range(len(images))],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }
    joints.write_text(json.dumps(content))
    for seed in (0, 1):
        data = Data("folder", str(people), "", str(tmp_path / "records"), 32, 16, seed)
        pose = PoseData("folder", str(people), str(joints))
        datasets = Datasets(tiny.config(people, (BASE,), data=data, pose_data=pose))
        taught = set(datasets.pose("train").identities.tolist())
        assert taught == set(datasets.table("train").identities.tolist())
        assert taught.isdisjoint(datasets.table("query").identities.tolist())
