"""From the configuration to a model and its first variables."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax import config as configs
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.models import efficientnet, mobilenet, osnet, resnet
from fgsam_jax.models.fgsam import FGSAM, Baseline, Intermediate, PoseEstimator
from fgsam_jax.models.fusion import Fusion
from fgsam_jax.models.outputs import Vectors
from fgsam_jax.models.pose_net import PoseResolveNet

_COLLECTIONS = ("params", "batch_stats", "constants")
_GENERATOR = "rbg"  # of the initial weights; it compiles faster than the default


def make_model(
    sizes: configs.Model,
    kind: str,
    identities: int,
    attributes: tuple[Attribute, ...],
    *,
    triplet_vector: str = "after",
    axis_name: str | None = None,
) -> nn.Module:
    """The model of a phase.

    Args:
      sizes: of its networks.
      kind: "pose", "baseline", "intermediate" or "fgsam".
      identities: of the training split.
      attributes: one head each.
      triplet_vector: which vector the phase's triplet loss compares, "before" or "after".
      axis_name: of the devices over which batch statistics are taken.
    """
    dtype: Any = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[sizes.dtype]
    backbone = functools.partial(make_backbone, sizes, dtype, axis_name)
    pose = functools.partial(
        PoseResolveNet, sizes.pose_width, sizes.pose_kernel, sizes.parse, dtype
    )
    if kind == "pose":
        return PoseEstimator(pose())
    vectors = Vectors(triplet_vector, sizes.search_vector)
    if kind == "baseline":
        return Baseline(
            backbone(), identities, sizes.pooling, sizes.baseline_neck, vectors, axis_name
        )
    fusion = Fusion(sizes.sketch, sizes.bilinear, dtype, axis_name)
    neck: dict[str, Any] = {
        "bnneck": sizes.bnneck,
        "vectors": vectors,
        "axis_name": axis_name,
        "plenary_size": sizes.plenary_size,
    }
    if kind == "intermediate":
        return Intermediate(backbone(), pose(), fusion, identities, attributes, **neck)
    return FGSAM(
        backbone(),
        pose(),
        fusion,
        identities,
        attributes,
        part_size=sizes.part_size,
        part_identities=sizes.identity_heads == "all",
        **neck,
    )


def make_backbone(sizes: configs.Model, dtype: Any, axis_name: str | None) -> nn.Module:
    """Images to a feature map.

    A backbone maps images [batch, height, width, 3] in 0..255 to [batch, h, w, channels]. `Fusion`
    averages the pose net's maps, of stride 8, to [h, w]: they must be a whole multiple of that.
    """
    check_backbone(sizes.backbone)
    return BACKBONES[sizes.backbone](sizes, dtype, axis_name)


def _resnet(sizes: configs.Model, dtype: Any, axis_name: str | None) -> nn.Module:
    return resnet.ResNet(
        sizes.backbone, sizes.width, sizes.stem, sizes.last_stride, dtype, axis_name
    )


def _osnet(sizes: configs.Model, dtype: Any, axis_name: str | None) -> nn.Module:
    return osnet.OSNet(sizes.backbone, dtype, axis_name)


def _efficientnet(sizes: configs.Model, dtype: Any, axis_name: str | None) -> nn.Module:
    return efficientnet.EfficientNetLite(sizes.backbone, sizes.last_stride, dtype, axis_name)


def _mobilenet(sizes: configs.Model, dtype: Any, axis_name: str | None) -> nn.Module:
    return mobilenet.MobileNetV2(sizes.last_stride, dtype, axis_name)


# A new backbone is a file in models/ and a line here.
BACKBONES: dict[str, Callable[[configs.Model, Any, str | None], nn.Module]] = {
    **dict.fromkeys(resnet.VARIANTS, _resnet),
    **dict.fromkeys(osnet.VARIANTS, _osnet),
    **dict.fromkeys(efficientnet.VARIANTS, _efficientnet),
    **dict.fromkeys(mobilenet.VARIANTS, _mobilenet),
}


def check_backbone(name: str) -> None:
    """Refuse a backbone that nobody has written. Raises InputError."""
    if name not in BACKBONES:
        raise InputError(f"config.model.backbone is one of {', '.join(BACKBONES)}; got {name!r}")


@functools.cache
def _initialiser(model: nn.Module) -> Callable:
    """`model.init`, which is slow to trace: jitted, shapes and values share one trace."""
    return jax.jit(model.init)


@functools.cache
def variable_shapes(model: nn.Module, height: int, width: int) -> dict[str, Any]:
    """Shapes and types of a model's variables, see `initial_variables`; not to be changed."""
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
    shapes = jax.eval_shape(_initialiser(model), jax.random.key(0, impl=_GENERATOR), images)
    return {name: shapes.get(name, {}) for name in _COLLECTIONS}


def initial_variables(
    model: nn.Module, seed: int, height: int, width: int, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fresh variables of a model.

    Args:
      model: to be applied to images of this size.
      seed: of the random numbers.
      height: of the images, in pixels.
      width: of the images, in pixels.
      known: variables that are not drawn but taken as they are, of the same form, possibly a part.

    Returns:
      "params", "batch_stats" and "constants", empty where a model has none.
    """
    shapes = flatten_dict(variable_shapes(model, height, width))
    values = flatten_dict(known or {})
    new = [path for path in shapes if path not in values]

    def draw(key: jax.Array) -> dict:
        # What is not asked for is never computed, nor is the forward pass.
        images = jnp.zeros((1, height, width, 3), jnp.uint8)
        variables = flatten_dict(_initialiser(model)(key, images))
        return {path: variables[path] for path in new}

    # Drawing hundreds of kernels compiles three times as fast so, and runs only once.
    quick = {"xla_backend_optimization_level": 0}
    values |= jax.jit(draw, compiler_options=quick)(jax.random.key(seed, impl=_GENERATOR))
    variables = unflatten_dict({path: values[path] for path in shapes})
    return {name: variables.get(name, {}) for name in _COLLECTIONS}
