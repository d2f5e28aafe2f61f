"""Training that begins with converted weights."""

import dataclasses
import hashlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import optax
import pytest
import tiny
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from fgsam_jax.checkpoint import Checkpoints, checkpoint_folder, restore
from fgsam_jax.config import Init, Model, Phase, check
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.models.factory import variable_shapes
from fgsam_jax.training import kept_config, loop, preflight
from fgsam_jax.training import phase as one_phase
from fgsam_jax.training.initialize import converted_weights, first_state, phase_info, take_matching
from fgsam_jax.training.state import save_state
from fgsam_jax.weights import hub, names, readers, storage

SIZES = dataclasses.replace(tiny.SIZES, backbone="resnet10", width=64, stem="imagenet")
MOVED = Phase("moved", "Moved", "baseline", batch=16, learning_rate=1e-2)
# A learning rate that leaves every weight where it begins, to nine digits.
STILL = Phase("still", "Still", "baseline", ("moved",), batch=16, learning_rate=1e-12)


def write(path, variant="resnet10", module=names.BACKBONE, **changes):
    random = np.random.default_rng(0)
    values = {
        key: random.uniform(0.5, 1.0, shape).astype(np.float32)
        for key, shape in names.shapes(module, variant).items()
    }
    values |= {tuple(name.split("/")): value for name, value in changes.get("values", {}).items()}
    storage.save(path, storage.Weights(module, variant, values), source="a", sha256="b")
    return values


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet10.safetensors"
    return path, write(path)


@pytest.fixture
def config(rendered, file):
    init = Init(backbone=str(file[0]))
    return tiny.config(rendered, (MOVED, STILL), model=SIZES, init=init)


KERNEL = ("params", "backbone", "layer1_0", "conv1", "kernel")


def test_a_phase_begins_with_the_weights(config, file, tmp_path, capsys):
    info = phase_info(config, MOVED, Datasets(config))
    checkpoints = Checkpoints(tmp_path, create=True)
    state, _ = first_state(checkpoints, info, tmp_path, optax.adam(1.0), 0, MOVED, 3, None)
    variables = flatten_dict(state.variables())
    for (collection, *rest), value in file[1].items():
        np.testing.assert_array_equal(variables[collection, "backbone", *rest], value)
    printed = capsys.readouterr().out
    assert "moved: 3 steps; taken from config.init: backbone (60)" in printed
    assert "new: pooled_identity (2)" in printed


def test_an_earlier_phase_wins_over_the_weights(config, file, tmp_path, monkeypatch):
    given = tmp_path / "given.safetensors"
    shutil.copy(file[0], given)
    config = dataclasses.replace(config, init=Init(backbone=str(given)))
    results = loop.train(config, tmp_path, Datasets(config))
    moved, still = (flatten_dict(restore(tmp_path, name)[1])[KERNEL] for name in ("moved", "still"))
    assert np.abs(moved - file[1]["params", *KERNEL[2:]]).max() > 1e-3
    np.testing.assert_allclose(still, moved, atol=1e-9)
    # A finished run needs the file no more, and another one changes nothing.
    given.unlink()
    monkeypatch.setattr(one_phase, "parallel_train_steps", None)
    for init in (config.init, Init()):
        rest = loop.train(dataclasses.replace(config, init=init), tmp_path, Datasets(config))
        assert [result["map"] for result in rest] == [result["map"] for result in results]


def test_a_trained_backbone_leaves_under_torchvisions_names_and_comes_back(
    config, file, tmp_path, capsys
):
    info = phase_info(config, MOVED, Datasets(config))
    folder = checkpoint_folder(tmp_path / "run", "moved")
    checkpoints = Checkpoints(folder, create=True)
    state, _ = first_state(checkpoints, info, tmp_path, optax.adam(1.0), 0, MOVED, 3, None)
    save_state(checkpoints, dataclasses.replace(state, step=state.step + 3), info.to_dict(), None)
    checkpoints.wait()
    leaving, again = tmp_path / "model.safetensors", tmp_path / "again.safetensors"
    convert_weights(str(tmp_path / "run"), "--to", str(leaving))
    assert "60 arrays of resnet10 from the checkpoint of step 3 of moved" in capsys.readouterr().out
    arrays = readers.read(leaving)
    kernel = file[1]["params", "layer2_0", "downsample_conv", "kernel"]
    np.testing.assert_array_equal(
        arrays["layer2.0.downsample.0.weight"][:, :, 0, 0], kernel[0, 0].T
    )
    convert_weights(str(leaving), "--to", str(again))
    back = storage.load(again).values
    assert back.keys() == file[1].keys()
    assert all(np.array_equal(back[path], value) for path, value in file[1].items())


@pytest.mark.parametrize(
    "variant",
    [
        "resnet50",
        "resnet50_caffe",
        "resnet50_ibn_a",
        "resnet50_strong_baseline",
        "osnet_x0_25",
    ],
)
def test_weights_of_every_form_leave_and_come_back_as_the_same_file(variant, tmp_path):
    before, leaving, after = (tmp_path / f"{name}.safetensors" for name in ("a", "b", "c"))
    write(before, variant)
    convert_weights(str(before), "--to", str(leaving))
    convert_weights(str(leaving), "--to", str(after), "--variant", variant)
    first, last = readers.read(before), readers.read(after)
    assert first.keys() == last.keys()
    for name, value in first.items():
        assert value.shape == last[name].shape
        np.testing.assert_array_equal(last[name], value)
    kept = ("format", "module", "variant", "missing")
    info = readers.metadata(before), readers.metadata(after)
    assert [info[0][key] for key in kept] == [info[1][key] for key in kept]


def convert_weights(*arguments):
    place = Path(__file__).parents[2] / "tools" / "convert_weights.py"
    spec = importlib.util.spec_from_file_location("convert_weights", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(list(arguments))


def test_unfinished_phases_start_again_with_other_weights(config, tmp_path):
    kept_config.record_config(config, tmp_path, [])
    folders = [checkpoint_folder(tmp_path, name) for name in ("still", "moved")]
    for folder in folders:
        folder.mkdir(parents=True)
    other = dataclasses.replace(config, init=Init())
    kept_config.record_config(
        other, tmp_path, kept_config.changed_phases(other, tmp_path, {"moved": {}})
    )
    assert [folder.exists() for folder in folders] == [False, True]


def refused(config, message, phase=MOVED):
    """The weights are refused before anything is trained."""
    config = dataclasses.replace(config, phases=(phase,))
    with pytest.raises(InputError, match=message) as error:
        preflight.check_phases(config, Path("no run is here"), Datasets(config), {})
    assert "\n" not in str(error.value)


def given(config, path):
    return dataclasses.replace(config, init=Init(backbone=str(path)))


def test_the_first_stages_alone_are_taken_and_the_rest_is_drawn_new(config, file, tmp_path):
    first = {path: v for path, v in file[1].items() if path[1] in ("conv1", "bn1", "layer1_0")}
    partial = storage.Weights(names.BACKBONE, "resnet10", first)
    storage.save(tmp_path / "a.safetensors", partial, source="a", sha256="b", missing=["c"])
    config = given(config, tmp_path / "a.safetensors")
    preflight.check_phases(config, Path("no run is here"), Datasets(config), {})
    model = phase_info(config, MOVED, Datasets(config)).model()
    shapes = variable_shapes(model, 32, 16)
    known, lines = take_matching(shapes, {"config.init": converted_weights(config, shapes)})
    assert len(first) == 15
    assert lines == [
        "taken from config.init: backbone (15)",
        "new: backbone (45), pooled_identity (2)",
    ]
    kernel = flatten_dict(known)[KERNEL]
    np.testing.assert_array_equal(kernel, file[1]["params", *KERNEL[2:]])


def test_a_missing_file_is_told_with_a_way_out(config, tmp_path):
    refused(given(config, tmp_path / "no"), r"no file .*docs/weights.md.*trains from scratch")


def test_a_foreign_file_is_told_to_be_converted(config, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"PK")
    refused(given(config, tmp_path / "a.pth"), r"run python tools/convert_weights.py .*a.pth --to")
    save_file({"conv1.weight": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    refused(given(config, tmp_path / "a.safetensors"), "holds no converted weights")


def test_weights_of_another_backbone_are_refused(config, tmp_path):
    write(tmp_path / "a.safetensors", "osnet_x0_25")
    refused(given(config, tmp_path / "a.safetensors"), "config.model.backbone=osnet_x0_25, and")


def test_weights_of_published_size_do_not_fit_a_narrow_model(config, tmp_path):
    write(tmp_path / "a.safetensors")
    narrow = dataclasses.replace(
        given(config, tmp_path / "a.safetensors"), model=dataclasses.replace(SIZES, width=8)
    )
    refused(narrow, r"backbone/bn1/mean is \(64,\) and the model has \(8,\)")


def test_weights_of_the_other_module_are_refused(config, tmp_path):
    write(tmp_path / "a.safetensors", names.OPENPOSE, names.POSE)
    refused(given(config, tmp_path / "a.safetensors"), "holds weights of the pose")


def test_weights_for_no_phase_are_refused(config, tmp_path):
    config = dataclasses.replace(config, init=Init(pose="x.safetensors"))
    refused(config, "config.init.pose is given, and no phase has a pose")


def test_weights_that_are_no_numbers_are_refused(config, tmp_path):
    broken = np.full((64,), np.nan, np.float32)
    write(tmp_path / "a.safetensors", values={"params/bn1/bias": broken})
    refused(given(config, tmp_path / "a.safetensors"), "params/bn1/bias .*not finite")


def test_the_pose_net_takes_openposes_weights_and_draws_its_parse_blocks(rendered, tmp_path):
    values = write(tmp_path / "a.safetensors", names.OPENPOSE, names.POSE)
    config = tiny.config(
        rendered, (tiny.POSE,), model=Model(), init=Init(pose=str(tmp_path / "a.safetensors"))
    )
    check(config)
    model = phase_info(config, tiny.POSE, Datasets(config)).model()
    shapes = variable_shapes(model, 32, 16)
    known, lines = take_matching(shapes, {"init": converted_weights(config, shapes)})
    assert len(flatten_dict(known)) == len(values)
    assert "new: pose (12)" in lines


def test_a_checksum_is_held_against_the_file(file):
    path, _ = file
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    assert hub.locate(f"{path}#sha256={good}") == path
    with pytest.raises(InputError, match="needed 00: it is another file or a broken download"):
        hub.locate(f"{path}#sha256=00")


def test_a_malformed_place_on_the_hub_is_refused():
    with pytest.raises(InputError, match="needed hf://owner/name/file"):
        hub.locate("hf://owner/file")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The hub switched off, with an empty cache."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_offline_with_nothing_cached_the_file_and_the_way_out_are_named(config, offline):
    place = given(config, "hf://someone/weights/resnet10.safetensors")
    refused(
        place,
        r"config.init.backbone=.*resnet10.safetensors of someone/weights is not in the hub's "
        r"cache.*huggingface.co and give its path.*trains from scratch",
    )


def test_offline_a_cached_file_is_found(offline, file):
    folder = offline / "models--someone--weights"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    shutil.copy(file[0], folder / "snapshots" / ("0" * 40) / "resnet10.safetensors")
    found = hub.locate("hf://someone/weights/resnet10.safetensors")
    assert storage.load(found).variant == "resnet10"
