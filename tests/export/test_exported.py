"""Exported files beside the model in JAX, in every program that is installed."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import onnx
import pytest
import tiny
from onnx import numpy_helper
from PIL import Image
from tiny import HEIGHT, WIDTH, numpy_variables

import fgsam_jax.export
from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, checkpoint_folder
from fgsam_jax.errors import InputError
from fgsam_jax.export import files, parity, program
from fgsam_jax.export.graph import Graph
from fgsam_jax.export.trained import Trained
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.models import resnet
from fgsam_jax.models.factory import BACKBONES
from fgsam_jax.models.outputs import descriptor
from fgsam_jax.models.resnet import IMAGENET_MEAN, IMAGENET_STD

IMAGES = np.random.default_rng(1).integers(0, 256, (12, HEIGHT, WIDTH, 3), np.uint8)
# One of each form: deeper ones repeat its blocks, wider ones are wider.
_FORMS = {
    re.sub(r"(?<=resnet)\d+|(?<=_x)\d_\d+|(?<=lite)\d", "", name): name
    for name in sorted(BACKBONES, reverse=True)
}


def trained(phase, sizes=tiny.SIZES, **changes):
    """The model of a phase of the tiny run, with random weights."""
    config = tiny.config(Path("unused"), model=sizes, **changes)
    info = CheckpointInfo(config, phase, tiny.PEOPLE, MARKET1501)
    variables = numpy_variables(info.model())
    if "pooling" in variables["params"]:
        variables["params"]["pooling"]["exponent"][:] = 3
    return Trained(info, variables, 7)


def largest(found):
    return max(x for by_output in found.values() for x in by_output.values())


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run's folder with checkpoints of random weights."""
    folder = tmp_path_factory.mktemp("run")
    for phase in ("pose", "base", "full"):
        model = trained(phase)
        checkpoints = Checkpoints(checkpoint_folder(folder, phase), create=True)
        checkpoints.save(7, {"variables": model.variables}, model.info.to_dict())
        checkpoints.wait()
    return folder


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    """A file of each format, by the phase; what compiles in a moment for the slower reader."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {"full": folder / "full.onnx", "base": folder / "base.stablehlo"}
    for phase, path in paths.items():
        files.write(trained(phase), path)
    return paths


@pytest.mark.parametrize("backbone", _FORMS.values())
def test_every_form_of_backbone_gives_the_same_for_1_3_and_8_images(
    backbone, tmp_path, monkeypatch
):
    for depth, (_, bottleneck) in resnet.STAGES.items():
        monkeypatch.setitem(resnet.STAGES, depth, ((1, 1, 1, 1), bottleneck))
    sizes = dataclasses.replace(tiny.SIZES, backbone=backbone, stem="imagenet", pooling="gem")
    model = trained("base", sizes)
    path = tmp_path / "model.onnx"
    files.write(model, path)
    found = parity.differences(path, model, IMAGES)
    assert "onnxruntime" in found
    assert largest(found) < 1e-5


@pytest.mark.parametrize("phase", ["pose", "full"])
def test_every_phase_gives_the_same_and_a_mirrored_mean_too(phase, tmp_path):
    model = trained(phase, mirror=phase == "full")
    path = tmp_path / "model.onnx"
    files.write(model, path)
    assert largest(parity.differences(path, model, IMAGES)) < 1e-5


def test_the_outputs_are_those_of_the_model(exported):
    model = trained("full")
    apply = jax.jit(model.info.model().apply)
    outputs = jax.device_get(apply(model.variables, IMAGES[:3]))
    found = files.runtimes(exported["full"])["onnxruntime"](IMAGES[:3])
    np.testing.assert_allclose(found["descriptor"], descriptor(outputs.embeddings), atol=1e-5)
    head = outputs.embeddings["head"]
    unit = head / np.linalg.norm(head, axis=1, keepdims=True)
    np.testing.assert_allclose(found["part_head"], unit, atol=1e-5)
    np.testing.assert_array_equal(found["part_plenary"], found["plenary"])
    for name, logits in outputs.attributes.items():
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found[f"attribute_{name}"], chances, atol=1e-5)
    assert len(found) == 2 + 7 + len(MARKET1501)


def test_a_file_says_what_made_it(exported):
    for phase, path in exported.items():
        about = files.about(path)
        assert about["versions"]["fgsam_jax"] == fgsam_jax.__version__
        told = {key: about[key] for key in ("phase", "step", "height", "width", "backbone")}
        assert told == {
            "phase": phase, "step": 7, "height": HEIGHT, "width": WIDTH, "backbone": "resnet10"
        }  # fmt: skip
        assert about["attributes"]["hat"] == ["no", "yes"]
        assert len(about["config_sha256"]) == 64


def test_stablehlo_is_read_by_jax_alone_for_any_number_of_images(exported, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    code = f"""
import sys
sys.modules["flax"] = sys.modules["fgsam_jax"] = None
import json, jax, numpy as np
read = jax.export.deserialize(bytearray(open({str(exported["base"])!r}, "rb").read()))
images = np.load("images.npy")
for first, end in ((0, 1), (1, 4)):
    np.save(f"{{first}}.npy", read.call(images[first:end])["descriptor"])
print(json.loads(read.fun_name)["phase"], *read.platforms)
"""
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.split() == ["base", "cpu", "cuda", "tpu"]
    found = np.concatenate([np.load(tmp_path / f"{first}.npy") for first in (0, 1)])
    ours = jax.jit(trained("base").outputs())(IMAGES[:4])["descriptor"]
    np.testing.assert_allclose(found, ours, atol=1e-5)


def test_normalisations_disappear_into_the_convolutions_before_them(tmp_path):
    model = trained("base")
    files.write(model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    kernels = [
        path for path, _ in jax.tree.leaves_with_path(model.variables["params"]["backbone"])
        if path[-1].key == "kernel"
    ]  # fmt: skip
    assert kinds.count("Conv") == len(kernels)
    assert kinds.count("Sub") == 1  # of the mean colour
    assert kinds.count("Transpose") == 1  # channels first, and never back
    # The weights once, and hardly more.
    stored = sum(numpy_helper.to_array(x).size for x in graph.initializer)
    assert stored < 1.01 * sum(x.size for x in jax.tree.leaves(model.variables["params"]))


def test_a_check_finds_the_checkpoint_that_a_file_is_of(exported, workdir, tmp_path):
    crop = tmp_path / "crop.png"
    Image.fromarray(IMAGES[0].repeat(2, 0)).save(crop)
    for path in exported.values():
        found = fgsam_jax.export.check(path, [crop, crop], workdir)
        assert all("descriptor" in by_output for by_output in found.values())
        assert largest(found) < 1e-5


def test_a_check_refuses_a_file_of_another_training(workdir, tmp_path):
    model = trained("base", dataclasses.replace(tiny.SIZES, pooling="gem"))
    files.write(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"step 7 of the phase base, and .* another run"):
        fgsam_jax.export.check(tmp_path / "other.onnx", IMAGES, workdir)


@pytest.mark.parametrize("suffix", [".onnx", ".stablehlo"])
def test_what_is_no_exported_file_is_told_in_a_line(suffix, tmp_path, workdir):
    path = tmp_path / f"model{suffix}"
    for content in (b"", b"nonsense" * 99):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not of tools/export\.py"):
            fgsam_jax.export.check(path, IMAGES, workdir)


def test_an_operation_without_a_form_is_named():
    traced = jax.make_jaxpr(jax.numpy.cos)(1.0)
    with pytest.raises(NotImplementedError, match="cos has no form"):
        program.inline(Graph(), traced.jaxpr, traced.consts, ["x"])


@pytest.fixture(scope="module")
def tool():
    place = Path(__file__).parents[2] / "tools" / "export.py"
    spec = importlib.util.spec_from_file_location("export_tool", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_the_command_writes_a_phase_and_says_how_near_it_is(tool, workdir, tmp_path, capsys):
    tool([str(workdir), "--to", str(tmp_path / "new" / "base.onnx"), "--phase", "base"])
    told = capsys.readouterr().out
    assert "step 7 of base for images of 32x16" in told
    assert "onnxruntime: differs from JAX by at most" in told


def test_int8_keeps_near_and_says_what_made_it(tool, workdir, tmp_path, capsys):
    crops = tmp_path / "crops"
    crops.mkdir()
    # All have little contrast but one: with its range alone the others would have few steps.
    images = IMAGES // 8 + 96
    images[0] = IMAGES[0]
    for number, image in enumerate(images):
        Image.fromarray(image).save(crops / f"{number}.png")
    path = tmp_path / "small.onnx"
    tool([str(workdir), "--to", str(path), "--phase", "base", "--int8", str(crops)])
    printed = capsys.readouterr().out
    assert "the ranges of 12 images" in printed
    assert "(8 bits; docs/export.md tells how" in printed
    told = files.about(path)
    assert (told["phase"], told["int8_images"]) == ("base", 12)
    graph = onnx.load(path).graph
    weights = [x for x in graph.initializer if len(x.dims) == 4 and x.dims[0] > 1]
    assert {x.data_type for x in weights} == {onnx.TensorProto.INT8}
    first = next(x for x in graph.node if x.op_type == "QuantizeLinear")
    (scale,) = (numpy_helper.to_array(x) for x in graph.initializer if x.name == first.input[1])
    normal = (images / 255 - IMAGENET_MEAN) / IMAGENET_STD
    ranges = normal.max((1, 2, 3)) - normal.min((1, 2, 3))
    assert scale * 255 == pytest.approx(ranges.mean(), rel=1e-3)
    assert ranges.mean() < 0.5 * ranges.max()
    found = files.runtimes(path)["onnxruntime"](images)["descriptor"]
    exact = np.asarray(jax.jit(trained("base").outputs())(images)["descriptor"])
    assert (found * exact).sum(1).min() > 0.99
    assert np.abs(found - exact).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "model.pb"], "to a .onnx or a .stablehlo, got model.pb"),
        (["--to", "a.stablehlo", "--int8", "crops"], "--int8 writes a .onnx"),
        (["--to", "a.onnx", "--phase", "nobody"], "no checkpoint at"),
        (["--to", "a.onnx", "--phase", "base", "--int8", "absent"], "absent holds no images"),
        ([], "the following arguments are required: --to"),
    ],
)
def test_a_mistake_is_told_in_a_line(tool, workdir, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        tool([str(workdir), *arguments])
    assert not list(tmp_path.glob("*.part"))


def test_metadata_are_words_for_programs_without_this_package(exported):
    stored = {x.key: json.loads(x.value) for x in onnx.load(exported["full"]).metadata_props}
    assert stored == files.about(exported["full"])
    assert onnx.load(exported["full"]).opset_import[0].version == 17
