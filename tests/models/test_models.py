import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny import HEIGHT, PEOPLE, SIZES, WIDTH, model, numpy_variables

from fgsam_jax.config import Model
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.labels.skeleton import PARTS, part_channels
from fgsam_jax.models.efficientnet import EfficientNetLite
from fgsam_jax.models.mobilenet import MobileNetV2
from fgsam_jax.models.norm import unit_length
from fgsam_jax.models.osnet import OSNet
from fgsam_jax.models.outputs import descriptor
from fgsam_jax.models.pooling import GeneralisedMean
from fgsam_jax.models.pose_net import ChannelParseBlock, PoseResolveNet, is_parse_block
from fgsam_jax.models.resnet import ResNet

IMAGE = jax.ShapeDtypeStruct((1, 256, 128, 3), jnp.uint8)


def shapes(module, image=IMAGE):
    return jax.eval_shape(module.init, jax.random.key(0), image)


def size(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def output_shape(module, image=IMAGE):
    """Shapes of what a module gives; nothing is computed."""
    return jax.tree.map(lambda x: x.shape, jax.eval_shape(module.apply, shapes(module), image))


# torchvision's counts less the classifier's 1000 (channels + 1).
@pytest.mark.parametrize(
    ("depth", "count"),
    [(18, 11176512), (34, 21284672), (50, 23508032), (101, 42500160), (152, 58143808)],
)
def test_a_resnet_has_the_published_number_of_parameters(depth, count):
    assert size(shapes(ResNet(f"resnet{depth}"))["params"]) == count


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (EfficientNetLite("efficientnet_lite0"), 4652008),
        (EfficientNetLite("efficientnet_lite1"), 5416680),
        (EfficientNetLite("efficientnet_lite2"), 6092072),
        (MobileNetV2(), 3504872),
    ],
)
def test_a_net_of_inverted_residuals_has_the_published_number_of_parameters(module, count):
    assert size(shapes(module)["params"]) == count - 1000 * (1280 + 1)


@pytest.mark.parametrize("net", [EfficientNetLite, MobileNetV2])
def test_a_net_of_inverted_residuals_maps_256x128_to_8x4_or_with_a_last_stride_of_1_to_16x8(net):
    assert output_shape(net()) == (1, 8, 4, 1280)
    assert output_shape(net(last_stride=1)) == (1, 16, 8, 1280)


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("form", ["caffe", "ibn_a"])
def test_the_other_forms_of_a_resnet_have_as_many_parameters(depth, form):
    plain, other = ResNet(f"resnet{depth}"), ResNet(f"resnet{depth}_{form}")
    assert size(shapes(plain)["params"]) == size(shapes(other)["params"])


def test_an_osnet_has_the_published_number_of_parameters():
    # torchreid publishes 2,193,616 with its dense layer (512 x 512 + 512) and the normalisation
    # after it, and counts a block's gate once for each of the four streams that share it.
    gates = sum(2 * (2 * c * (c // 16) + c // 16 + c) for c in (64, 96, 128))
    assert size(shapes(OSNet())["params"]) == 2193616 - (512 * 512 + 512) - 2 * 512 - 3 * gates


@pytest.mark.parametrize(
    ("variant", "channels"),
    [("osnet_x1_0", 512), ("osnet_x0_75", 384), ("osnet_x0_5", 256), ("osnet_x0_25", 128)],
)
def test_an_osnet_maps_256x128_to_16x8(variant, channels):
    assert output_shape(OSNet(variant)) == (1, 16, 8, channels)


def test_the_pose_net_has_the_published_number_of_parameters():
    assert size(shapes(PoseResolveNet(parse=False))["params"]) == 25956971


def test_channel_parse_blocks_are_all_that_is_added_to_the_pose_net():
    parameters = flatten_dict(shapes(PoseResolveNet())["params"])
    published = flatten_dict(shapes(PoseResolveNet(parse=False))["params"])
    added = {path[0] for path in parameters if path not in published}
    assert added == {"CPB1", "CPB2", "CPB3"}
    assert all(is_parse_block(path) == (path not in published) for path in parameters)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("conv1_1", (3, 3, 3, 64)),
        ("conv4_4_CPM", (3, 3, 256, 128)),
        ("conv5_4_CPM_L1", (1, 1, 128, 512)),
        ("conv5_5_CPM_L1", (1, 1, 512, 38)),
        ("conv5_5_CPM_L2", (1, 1, 512, 19)),
        ("Mconv1_stage2_L1", (7, 7, 185, 128)),
        ("Mconv1_stage3_L2", (7, 7, 185, 128)),
        ("Mconv7_stage3_L1", (1, 1, 128, 38)),
        ("Mconv7_stage3_L2", (1, 1, 128, 19)),
    ],
)
def test_layers_of_the_pose_net_are_named_and_shaped_as_openpose_does(layer, shape):
    assert shapes(PoseResolveNet())["params"][layer]["kernel"].shape == shape


def test_a_resnet_50_maps_256x128_to_8x4():
    assert output_shape(ResNet("resnet50")) == (1, 8, 4, 2048)


def test_a_last_stride_of_1_doubles_the_map():
    assert output_shape(ResNet("resnet50", last_stride=1)) == (1, 16, 8, 2048)


def test_the_pose_net_maps_256x128_to_32x16():
    pose = output_shape(PoseResolveNet())
    assert pose.heat == ((1, 32, 16, 19),) * 3
    assert pose.affinity == ((1, 32, 16, 38),) * 3
    assert pose.parsed == (1, 32, 16, 57)


def test_the_published_model_has_seven_branches_of_the_papers_sizes():
    published = output_shape(model("fgsam", Model()))
    sizes = {part: shape[1] for part, shape in published.embeddings.items()}
    assert sizes == {part: 512 if part == "plenary" else 256 for part in PARTS}
    assert published.identity == (1, PEOPLE)
    assert {a.name: (1, len(a.classes)) for a in MARKET1501} == published.attributes


def test_the_intermediate_model_has_one_branch_and_every_attribute():
    outputs = output_shape(model("intermediate"))
    assert outputs.embeddings == {"plenary": (1, SIZES.plenary_size)}
    assert set(outputs.attributes) == {a.name for a in MARKET1501}


def test_a_channel_parse_block_changes_no_bit_at_the_start():
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 57)).astype(np.float32)
    block = ChannelParseBlock()
    variables = block.init(jax.random.key(0), x)
    np.testing.assert_array_equal(block.apply(variables, x), x)


def test_a_channel_parse_block_weighs_by_the_mean_of_the_map():
    # One channel in, hidden units that copy its mean, gate 2 sigmoid(mean).
    x = np.array([[[[1.0], [3.0]]]], np.float32)
    variables = {
        "params": {
            "squeeze": {
                "kernel": np.full((1, 1, 1, 16), 1 / 16, np.float32),
                "bias": np.zeros(16, np.float32),
            },
            "excite": {
                "kernel": np.ones((1, 1, 16, 1), np.float32),
                "bias": np.zeros(1, np.float32),
            },
        }
    }
    found = ChannelParseBlock().apply(variables, x)
    np.testing.assert_allclose(found, x * 2 / (1 + np.exp(-2)), rtol=1e-6)


def test_each_part_owns_its_joints_and_limbs():
    assert part_channels().sum(axis=1).tolist() == [19, 13, 8, 8, 8, 8, 57]
    # Every channel but the background's belongs to a part of the body.
    assert part_channels()[:-1].any(axis=0).sum() == 56


@pytest.fixture(scope="module")
def computed():
    """Outputs of the small model on two images in both precisions, and its variables."""
    variables = numpy_variables(model("fgsam"))
    images = np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype(np.uint8)
    half = dataclasses.replace(SIZES, dtype="bfloat16")
    outputs = {
        name: jax.device_get(jax.jit(model("fgsam", sizes).apply)(variables, images))
        for name, sizes in {"float32": SIZES, "bfloat16": half}.items()
    }
    return variables, outputs


def test_embeddings_are_float32_and_close_in_both_precisions(computed):
    _, outputs = computed
    for part in PARTS:
        single, half = (outputs[name].embeddings[part] for name in ("float32", "bfloat16"))
        assert single.dtype == half.dtype == np.float32
        assert np.abs(single - half).max() < 0.1 * np.abs(single).max()
        assert not np.array_equal(single, half)
    assert outputs["bfloat16"].pose.parsed.dtype == jnp.bfloat16


def test_parameters_and_statistics_are_float32_when_computing_in_bfloat16():
    half = shapes(model("fgsam", dataclasses.replace(SIZES, dtype="bfloat16")), images(1))
    for collection in ("params", "batch_stats"):
        assert {leaf.dtype for leaf in jax.tree.leaves(half[collection])} == {jnp.dtype("float32")}


def images(count, height=HEIGHT, width=WIDTH):
    return jax.ShapeDtypeStruct((count, height, width, 3), jnp.uint8)


def test_the_sketch_tables_are_constants_and_not_parameters():
    variables = shapes(model("fgsam"), images(1))
    tables = {path[-1]: leaf for path, leaf in flatten_dict(variables["constants"]).items()}
    described = {name: (leaf.shape, leaf.dtype.name) for name, leaf in tables.items()}
    channels = SIZES.width * 8
    assert described == {
        "features_bins": ((channels,), "int32"),
        "features_signs": ((channels,), "int8"),
        "pose_bins": ((57,), "int32"),
        "pose_signs": ((57,), "int8"),
    }
    assert not any("bins" in "/".join(path) for path in flatten_dict(variables["params"]))


def test_an_attribute_is_read_from_its_own_part_alone(computed):
    variables, _ = computed
    image = np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype(np.uint8)
    branches = {part: variables["params"][part] for part in PARTS}

    def logits(branches):
        filled = {**variables, "params": {**variables["params"], **branches}}
        outputs = model("fgsam").apply(filled, image)
        return {name: jnp.sum(x[:, 0]) for name, x in outputs.attributes.items()}

    gradients = jax.jit(jax.jacrev(logits))(branches)
    for attribute in MARKET1501:
        reached = {
            part
            for part, gradient in gradients[attribute.name].items()
            if np.any(gradient["dense"]["kernel"])
        }
        assert reached == {attribute.part}


def test_identity_is_read_from_the_plenary_branch(computed):
    variables, outputs = computed
    head = variables["params"]["identity"]
    expected = outputs["float32"].embeddings["plenary"] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(outputs["float32"].identity, expected, rtol=1e-3, atol=1e-5)


def test_a_descriptor_has_length_1_and_ignores_the_scale_of_a_branch():
    random = np.random.default_rng(0)
    branches = {"b": random.normal(size=(3, 4)), "a": random.normal(size=(3, 2))}
    found = descriptor(jax.tree.map(jnp.asarray, branches))
    assert found.shape == (3, 6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    scaled = descriptor({"a": jnp.asarray(100 * branches["a"]), "b": jnp.asarray(branches["b"])})
    np.testing.assert_allclose(scaled, found, atol=1e-6)
    # Branches in alphabetical order, each of length 1 / sqrt(2).
    length = np.linalg.norm(branches["a"], axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, :2], branches["a"] / length / 2**0.5, rtol=1e-5)


def test_a_zero_row_stays_zero_and_has_a_finite_gradient():
    zero = jnp.zeros((1, 3))
    assert not unit_length(zero).any()
    assert jnp.isfinite(jax.grad(lambda x: unit_length(x).sum())(zero)).all()


@pytest.mark.parametrize(
    ("kind", "changes", "image", "message"),
    [
        ("pose", {}, images(1, 36, 16), "sizes divisible by 8, got 36x16"),
        ("baseline", {"backbone": "resnet51"}, images(1), "backbone is one of resnet10.*osnet"),
        ("fgsam", {"last_stride": 2}, images(1, 40, 24), "5x3 cells cannot be averaged"),
        ("fgsam", {"bilinear": "slow"}, images(1), "slow"),
    ],
)
def test_what_cannot_be_built_is_refused(kind, changes, image, message):
    with pytest.raises(InputError, match=message):
        shapes(model(kind, dataclasses.replace(SIZES, **changes)), image)


def test_embeddings_without_normalisation_have_the_same_shapes():
    found = output_shape(model("fgsam", dataclasses.replace(SIZES, bnneck=False)), images(2))
    assert found.embeddings["head"] == (2, SIZES.part_size)
    assert found.identity == (2, PEOPLE)


def features(count=3):
    return np.random.default_rng(2).normal(1, 2, (count, 4, 2, 5)).astype(np.float32)


@pytest.mark.parametrize("p", [1.0, 3.0, 6.5])
def test_a_generalised_mean_is_the_root_of_the_mean_power_of_what_is_positive(p):
    maps = features()
    variables = {"params": {"exponent": np.array([p], np.float32)}}
    found = GeneralisedMean().apply(variables, maps)
    for image, row in zip(maps.astype(np.float64), found, strict=True):
        for channel in range(5):
            powers = [max(x, 1e-6) ** p for x in image[..., channel].ravel()]
            np.testing.assert_allclose(row[channel], (sum(powers) / 8) ** (1 / p), rtol=1e-4)


def test_a_generalised_mean_begins_at_3_and_learns():
    maps = features()
    variables = GeneralisedMean().init(jax.random.key(0), maps)
    assert variables["params"]["exponent"] == 3

    def total(p):
        return GeneralisedMean().apply({"params": {"exponent": p}}, maps).sum()

    at, h = jnp.array([3.0]), 1e-2
    slope = (total(at + h) - total(at - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(total)(at)[0], slope, rtol=1e-2)


def test_a_generalised_mean_of_nothing_has_a_finite_slope_for_any_exponent():
    def total(p, maps):
        return GeneralisedMean().apply({"params": {"exponent": p}}, maps).sum()

    for p in (1.0, 3.0, 30.0):
        slopes = jax.grad(total, (0, 1))(jnp.array([p]), jnp.zeros((1, 2, 2, 3)))
        assert all(np.isfinite(x).all() for x in slopes)


NECKED = dataclasses.replace(SIZES, baseline_neck=True)


def test_the_baselines_neck_normalises_over_the_batch_and_its_classifier_has_no_bias():
    net = model("baseline", NECKED, triplet_vector="before")
    variables = numpy_variables(net)
    assert set(variables["params"]["pooled_identity"]) == {"kernel"}
    batch = np.random.default_rng(1).integers(0, 256, (6, HEIGHT, WIDTH, 3)).astype(np.uint8)
    apply = functools.partial(net.apply, train=True, mutable=["batch_stats"])
    outputs, after = jax.jit(apply)(variables, batch)
    before = np.float64(outputs.triplet["plenary"])
    unit = (before - before.mean(0)) / np.sqrt(before.var(0) + 1e-5)
    np.testing.assert_allclose(outputs.embeddings["plenary"], unit, atol=1e-3)
    kernel = variables["params"]["pooled_identity"]["kernel"]
    np.testing.assert_allclose(
        outputs.identity, outputs.embeddings["plenary"] @ kernel, rtol=1e-3, atol=1e-4
    )
    mean = after["batch_stats"]["neck"]["mean"]
    np.testing.assert_allclose(mean, 0.1 * before.mean(0), rtol=1e-3, atol=1e-6)


def test_triplet_and_search_compare_the_vectors_that_are_chosen(computed):
    variables, outputs = computed
    image = np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype(np.uint8)

    plain = outputs["float32"].embeddings
    mixed = jax.jit(model("fgsam", triplet_vector="before").apply)(variables, image)
    swapped = jax.jit(model("fgsam", dataclasses.replace(SIZES, search_vector="before")).apply)(
        variables, image
    )
    for part in PARTS:
        np.testing.assert_allclose(mixed.embeddings[part], plain[part], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(swapped.triplet[part], plain[part], rtol=1e-4, atol=1e-5)
        # With the running statistics mean 0 and variance 1 only the epsilon lies between.
        factor = (1 + 1e-5) ** -0.5
        np.testing.assert_allclose(mixed.triplet[part] * factor, plain[part], rtol=1e-4, atol=1e-5)
    assert outputs["float32"].triplet is None
    assert outputs["float32"].part_identity is None


def test_every_part_may_have_an_identity_classifier():
    everywhere = dataclasses.replace(SIZES, identity_heads="all")
    found = output_shape(model("fgsam", everywhere), images(2))
    assert found.part_identity == dict.fromkeys(PARTS[:-1], (2, PEOPLE))
    ours, plain = (
        flatten_dict(shapes(model("fgsam", sizes), images(2))["params"])
        for sizes in (everywhere, SIZES)
    )
    assert {path[0] for path in set(ours) - set(plain)} == {f"identity_{p}" for p in PARTS[:-1]}
