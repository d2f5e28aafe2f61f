"""Names: of our weights, and of the same weights in the files of others.

A weight of ours has a path of collection, modules and leaf: ("params", "layer1_0", "conv1",
"kernel"). Every rule here goes from our path to one foreign name, so that the same rule serves
both directions and nothing can be taken twice.
"""

import functools
import re
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from fgsam_jax.errors import InputError
from fgsam_jax.models import efficientnet, mobilenet, osnet, resnet
from fgsam_jax.models.pose_net import PoseResolveNet

Path = tuple[str, ...]
BACKBONE, POSE = "backbone", "pose"
OPENPOSE = "openpose_coco"  # the pose net's variant; there is one

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@functools.cache
def shapes(module: str, variant: str) -> dict[Path, tuple[int, ...]]:
    """Shape of every weight of a module at its published size.

    Args:
      module: "backbone" or "pose".
      variant: as `config.model.backbone` names it, or `OPENPOSE`.

    Raises:
      InputError: there is no such variant.
    """
    model: nn.Module
    if module == POSE:
        model = PoseResolveNet(parse=False)
    elif variant in osnet.VARIANTS:
        model = osnet.OSNet(variant)
    elif variant in resnet.VARIANTS:
        model = resnet.ResNet(variant)
    elif variant in efficientnet.VARIANTS:
        model = efficientnet.EfficientNetLite(variant)
    elif variant in mobilenet.VARIANTS:
        model = mobilenet.MobileNetV2()
    else:
        known = [*resnet.VARIANTS, *osnet.VARIANTS, *efficientnet.VARIANTS, *mobilenet.VARIANTS]
        raise InputError(f"the backbone is one of {', '.join(known)}; got {variant!r}")
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)
    tree = jax.eval_shape(model.init, jax.random.key(0), image)
    return {path: leaf.shape for path, leaf in flatten_dict(tree).items()}


def torch_name(variant: str) -> Callable[[Path], str]:
    """The rule of names that PyTorch's form of a variant has."""
    if variant == OPENPOSE:
        return _plain_name
    if variant in efficientnet.VARIANTS:
        return _efficientnet_name
    if variant in mobilenet.VARIANTS:
        return mobilenet_name
    return _osnet_name if variant in osnet.VARIANTS else _resnet_name


def _plain_name(path: Path) -> str:
    *modules, leaf = path[1:]
    return ".".join([*modules, _LEAVES[leaf]])


def _resnet_name(path: Path) -> str:
    """torchvision's: layer1.0.conv1.weight, layer1.0.downsample.0.weight, bn1.running_mean."""
    name = re.sub(r"^(layer\d)_(\d+)\.", r"\1.\2.", _plain_name(path))
    return name.replace("downsample_conv", "downsample.0").replace("downsample_bn", "downsample.1")


def _osnet_name(path: Path) -> str:
    """torchreid's: conv2.0.conv2b.1.conv2.weight; conv2.2.0 is the layer before the pooling."""
    if path[-1] == "conv2":  # the kernel of each channel by itself
        path = (*path, "kernel")
    name = re.sub(r"^(conv[234])_([01])\.", r"\1.\2.", _plain_name(path))
    name = re.sub(r"^(conv[23])_2\.", r"\1.2.0.", name)
    return re.sub(r"(conv2[bcd])_(\d)\.", r"\1.\2.", name)


def _efficientnet_name(path: Path) -> str:
    """Of the public wheels: _blocks.3._expand_conv.weight, _conv_head.weight."""
    *modules, leaf = path[1:]
    name = ".".join([*(f"_{module}" for module in modules), _LEAVES[leaf]])
    return re.sub(r"^_blocks_(\d+)", r"_blocks.\1", name)


def mobilenet_name(path: Path, flat: bool = False) -> str:
    """torchvision's: features.4.conv.0.1.weight is the first normalisation of the fourth block.

    The last convolution and normalisation of a block are in no group with a ReLU. The flat names
    of others, features.4.conv.1.weight, have no groups and count the ReLUs.
    """
    *modules, leaf = path[1:]
    if len(modules) == 1:
        place = {"conv_stem": "0.0", "bn0": "0.1", "conv_head": "18.0", "bn1": "18.1"}[modules[0]]
    else:
        block = int(modules[0].removeprefix("blocks_"))
        layers = ["expand_conv", "bn0", "depthwise_conv", "bn1", "project_conv", "bn2"]
        layers = layers if block else layers[2:]  # the first has no expansion
        group, index = divmod(layers.index(modules[1]), 2)
        last = group == len(layers) // 2 - 1
        inner = 3 * group + index if flat else group + index if last else f"{group}.{index}"
        place = f"{block + 1}.conv.{inner}"
    return f"features.{place}.{_LEAVES[leaf]}"


def caffe_resnet_name(depth: int) -> Callable[[Path], str]:
    """The rule of He et al.'s names: res3b1_branch2a_0, bn3b1_branch2a_1, scale_conv1_0.

    ResNet-50 counts its blocks by letters; the deeper ones number those of stages 3 and 4.
    """

    def rule(path: Path) -> str:
        *modules, leaf = path[1:]
        kind, number = {
            "kernel": ("res", 0),
            "mean": ("bn", 0),
            "var": ("bn", 1),
            "scale": ("scale", 0),
            "bias": ("scale", 1),
        }[leaf]
        if len(modules) == 1:
            return f"conv1_{number}" if kind == "res" else f"{kind}_conv1_{number}"
        stage, index = (int(part) for part in modules[0].removeprefix("layer").split("_"))
        numbered = depth > 50 and stage in (2, 3)
        block = ("b" + str(index) if index else "a") if numbered else "abcdef"[index]
        branch = {"1": "2a", "2": "2b", "3": "2c"}.get(modules[1][-1], "1")
        return f"{kind}{stage + 1}{block}_branch{branch}_{number}"

    return rule


def caffe_pose_name(path: Path) -> str:
    """Caffe's names of OpenPose: conv1_1_0 is the kernel of conv1_1 and conv1_1_1 its bias."""
    return f"{path[1]}_{0 if path[-1] == 'kernel' else 1}"


# The first ten convolutions of VGG-19 by their place in torchvision's `features`.
VGG = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12,
    "conv3_3": 14, "conv3_4": 16, "conv4_1": 19, "conv4_2": 21,
}  # fmt: skip


def vgg_name(path: Path) -> str:
    """torchvision's name of a layer of VGG-19: features.0.weight. The path is one of `VGG`'s."""
    return f"features.{VGG[path[1]]}.{_LEAVES[path[-1]]}"
