"""Which model a file is of, told by its names: the sources that can be converted."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fgsam_jax.errors import InputError, printable
from fgsam_jax.models import efficientnet, osnet, resnet
from fgsam_jax.weights import names, scaling

# Of a classifier, a neck or a preprocessing; what is after the backbone is not converted.
_HEADS = r"(_?fc|classifier|heads|bottleneck|pool|last_linear|pixel_mean|pixel_std)(\.|$)"
_COUNTERS = r".*num_batches_tracked$"
# What torch.compile, data parallelism and trainers put before the names of what they wrap.
_WRAPPERS = r"((module|_orig_mod|model)\.)*"

Arrays = dict[str, np.ndarray]
Weights = dict[names.Path, np.ndarray]


@dataclass(frozen=True)
class Source:
    """A recognised file.

    Attributes:
      title: for people.
      module: "backbone" or "pose".
      variant: of the module.
      keys: for each of our paths, the file's name of the weight.
      left: patterns of names that are left behind, and what they are.
      before: what stands before every name of the module.
      output_first: kernels are [out, in, height, width], otherwise [height, width, in, out].
      prepare: of the file's arrays, before anything is checked.
      finish: of our weights.
    """

    title: str
    module: str
    variant: str
    keys: dict[names.Path, str]
    left: dict[str, str]
    before: str = ""
    output_first: bool = True
    prepare: Callable[[Arrays], Arrays] = lambda arrays: arrays
    finish: Callable[[Weights], Weights] = lambda weights: weights


def recognise(arrays: Mapping[str, np.ndarray], variant: str = "") -> Source:
    """The source that names tell.

    Args:
      arrays: by name.
      variant: that was asked for; it answers what the names leave open.

    Raises:
      InputError: the names fit none, or several forms of a net and no variant was asked for.
    """
    for find in (_caffe_resnet, _caffe_pose, _pose, _vgg, _osnet, _efficientnet, _mobilenet):
        if source := find(arrays):
            return source
    if source := _resnet(arrays, variant):
        return source
    first = ", ".join(printable(name) for name in list(arrays)[:4])
    raise InputError(
        "these names are of no model that can be converted: needed a ResNet of torchvision, timm, "
        "Caffe, torchreid, fast-reid or reid-strong-baseline, IBN-Net's IBN-a, torchreid's OSNet, "
        "EfficientNet-Lite0 to 2, MobileNetV2, "
        f"VGG-19 or OpenPose's COCO body net; the file has {first}"
    )


def _keys(
    module: str, variant: str, rule: Callable[[names.Path], str], before: str = ""
) -> dict[names.Path, str]:
    return {path: before + rule(path) for path in names.shapes(module, variant)}


def unwrapped(name: str) -> str:
    """A name without what wrappers put before it: module.model.base.conv1 is base.conv1."""
    return re.sub(rf"^{_WRAPPERS}", "", name)


def _resnet(arrays: Mapping[str, np.ndarray], asked: str) -> Source | None:
    before = _prefix(arrays, "layer1.0.conv1.weight")
    if before is None:
        return None
    inner = [name.removeprefix(before) for name in arrays if name.startswith(before)]
    counts = _stages(inner, r"layer([1-4])\.(\d+)\.")
    bottleneck = "layer1.0.conv3.weight" in inner
    depth = _depth(counts, bottleneck)
    ibn = any(".bn1.IN." in name for name in inner)
    forms = {
        "": ("", "IBN-Net's" if ibn else "torchvision's"),
        "backbone.": ("_fastreid", "fast-reid's"),
        # Its IBN-a has the ReLU that its plain form lacks.
        "base.": ("" if ibn else "_strong_baseline", "reid-strong-baseline's"),
    }
    inside = unwrapped(before)
    if inside not in forms and not asked:
        raise InputError(
            f"the names of this ResNet-{depth} begin with {before}, which does not tell its form: "
            "say --variant, one of the names in docs/weights.md"
        )
    form, owner = forms.get(inside, forms[""])
    variant = f"resnet{depth}{form}{'_ibn_a' if ibn else ''}"
    if variant not in resnet.VARIANTS:
        raise InputError(f"this is a ResNet-{depth} of the form {variant}, which is not known here")
    left = {_HEADS: "classifier or neck", _COUNTERS: "counters of batches"}
    keys = _keys(names.BACKBONE, variant, names.torch_name(variant), before)
    title = f"{owner} ResNet-{depth}{'-IBN-a' if ibn else ''}"
    return Source(title, names.BACKBONE, variant, keys, left, before)


def _osnet(arrays: Mapping[str, np.ndarray]) -> Source | None:
    before = _prefix(arrays, "conv2.0.conv2a.conv1.weight")
    if before is None:
        return None
    stem = arrays.get(f"{before}conv1.conv.weight")
    channels = stem.shape[0] if stem is not None and stem.ndim else 64
    fitting = [name for name, sizes in osnet.VARIANTS.items() if sizes[0] == channels]
    if not fitting:
        raise InputError(f"this OSNet begins with {channels} channels, needed 64, 48, 32 or 16")
    keys = _keys(names.BACKBONE, fitting[0], names.torch_name(fitting[0]), before)
    left = {_HEADS: "classifier or neck", _COUNTERS: "counters of batches"}
    return Source(f"torchreid's {fitting[0]}", names.BACKBONE, fitting[0], keys, left, before)


def _efficientnet(arrays: Mapping[str, np.ndarray]) -> Source | None:
    before = _prefix(arrays, "_blocks.0._depthwise_conv.weight")
    if before is None:
        return None
    inside = re.compile(re.escape(before) + r"_blocks\.(\d+)\.")
    blocks = 1 + max(int(match[1]) for name in arrays if (match := inside.match(name)))
    head = arrays.get(f"{before}_conv_head.weight")
    channels = head.shape[1] if head is not None and head.ndim == 4 else 320
    sizes = {
        name: (sum(stage.blocks for stage in stages), stages[-1].channels)
        for name, stages in efficientnet.VARIANTS.items()
    }
    fitting = [name for name, size in sizes.items() if size == (blocks, channels)]
    if not fitting:
        raise InputError(
            f"this EfficientNet has {blocks} blocks and {channels} channels after them, needed "
            + " or ".join(f"{size} ({name})" for name, size in sizes.items())
        )
    keys = _keys(names.BACKBONE, fitting[0], names.torch_name(fitting[0]), before)
    left = {_HEADS: "classifier or neck", _COUNTERS: "counters of batches"}
    return Source(fitting[0], names.BACKBONE, fitting[0], keys, left, before)


def _mobilenet(arrays: Mapping[str, np.ndarray]) -> Source | None:
    for flat, telltale in (
        (False, "features.1.conv.0.0.weight"),
        (True, "features.1.conv.0.weight"),
    ):
        before = _prefix(arrays, telltale)
        if before is not None:
            rule = functools.partial(names.mobilenet_name, flat=flat)
            keys = _keys(names.BACKBONE, "mobilenet_v2", rule, before)
            left = {_HEADS: "classifier", _COUNTERS: "counters of batches"}
            title = "MobileNetV2 of flat names" if flat else "torchvision's MobileNetV2"
            return Source(title, names.BACKBONE, "mobilenet_v2", keys, left, before)
    return None


def _pose(arrays: Mapping[str, np.ndarray]) -> Source | None:
    nested = re.compile(rf"{_WRAPPERS}(model\d(_\d)?\.)?(?P<own>\w+\.(weight|bias))")
    found = {match["own"]: match[0] for name in arrays if (match := nested.fullmatch(name))}
    if "conv1_1.weight" not in found or "conv4_3_CPM.weight" not in found:
        return None
    rule = names.torch_name(names.OPENPOSE)
    keys = {
        path: found.get(rule(path), rule(path)) for path in names.shapes(names.POSE, names.OPENPOSE)
    }
    left = {r".*Mconv\d_stage[456]_L[12]\.(weight|bias)": "stages 4 to 6"}
    return Source("OpenPose's COCO body net", names.POSE, names.OPENPOSE, keys, left)


def _vgg(arrays: Mapping[str, np.ndarray]) -> Source | None:
    before = _prefix(arrays, "features.0.weight")
    if before is None:
        return None
    paths = [p for p in names.shapes(names.POSE, names.OPENPOSE) if p[1] in names.VGG]
    keys = {path: before + names.vgg_name(path) for path in paths}
    left = {
        r"features\.(23|25|28|30|32|34)\.(weight|bias)": "convolutions after the tenth",
        _HEADS: "classifier",
    }
    title = "torchvision's VGG-19"
    return Source(
        title, names.POSE, names.OPENPOSE, keys, left, before, finish=scaling.to_openpose_input
    )


def _caffe_resnet(arrays: Mapping[str, np.ndarray]) -> Source | None:
    if "res2a_branch2a_0" not in arrays:
        return None
    numbered = "res3b1_branch2a_0" in arrays
    blocks = {int(m[1]) for n in arrays if (m := re.fullmatch(r"res4b(\d+)_branch2a_0", n))}
    depth = 50 if not numbered else 152 if max(blocks, default=0) > 22 else 101
    variant = f"resnet{depth}_caffe"
    keys = _keys(names.BACKBONE, variant, names.caffe_resnet_name(depth))
    stem = arrays.get("conv1_0")
    output_first = stem is None or stem.shape != (7, 7, 3, 64)
    left = {r"fc\d+_[01]$": "classifier"}
    title = f"Caffe's ResNet-{depth}"
    return Source(
        title,
        names.BACKBONE,
        variant,
        keys,
        left,
        output_first=output_first,
        prepare=scaling.whole_statistics,
    )


def _caffe_pose(arrays: Mapping[str, np.ndarray]) -> Source | None:
    if "conv1_1_0" not in arrays or "conv4_3_CPM_0" not in arrays:
        return None
    keys = _keys(names.POSE, names.OPENPOSE, names.caffe_pose_name)
    left = {r"Mconv\d_stage[456]_L[12]_[01]": "stages 4 to 6"}
    title = "OpenPose's COCO body net of Caffe"
    output_first = arrays["conv1_1_0"].shape != (3, 3, 3, 64)
    return Source(title, names.POSE, names.OPENPOSE, keys, left, output_first=output_first)


def _prefix(arrays: Iterable[str], telltale: str) -> str | None:
    """What stands before a name that only one model has."""
    for name in arrays:
        if name == telltale or name.endswith("." + telltale):
            return name.removesuffix(telltale)
    return None


def _stages(inner: Iterable[str], pattern: str) -> list[int]:
    """Blocks of each of the four stages."""
    counts = [0, 0, 0, 0]
    for name in inner:
        if match := re.match(pattern, name):
            stage, index = int(match[1]) - 1, int(match[2])
            counts[stage] = max(counts[stage], index + 1)
    return counts


def _depth(counts: list[int], bottleneck: bool) -> int:
    """The smallest known ResNet that has these blocks; what it has more will be found missing."""
    for depth, (blocks, wide) in resnet.STAGES.items():
        if wide == bottleneck and all(a <= b for a, b in zip(counts, blocks, strict=True)):
            return depth
    kind = "bottleneck" if bottleneck else "basic"
    raise InputError(
        f"this ResNet has {counts} {kind} blocks in its stages, more than any that is known here"
    )
