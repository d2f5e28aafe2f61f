"""From a configuration to a model, and from a checkpoint back to it."""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax import config as configs
from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.data.attributes import Attribute
from fgsam_jax.errors import InputError
from fgsam_jax.models import osnet, resnet
from fgsam_jax.models.fgsam import FGSAM, Baseline, Fusion, Intermediate, PoseEstimator
from fgsam_jax.models.pose import PoseResolveNet

_COLLECTIONS = ("params", "batch_stats", "constants")
_GENERATOR = "rbg"  # of the initial weights; it compiles faster than the default


@dataclass(frozen=True)
class About:
    """What a checkpoint says of itself: enough to build its model and to name its outputs."""

    config: configs.Config
    phase: str
    identities: int
    attributes: tuple[Attribute, ...]
    trained_on: str = ""  # a digest of the training images' names, people and joints

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "config": configs.to_dict(self.config),
            "phase": self.phase,
            "identities": self.identities,
            "attributes": [asdict(attribute) for attribute in self.attributes],
            "trained_on": self.trained_on,
        }

    @classmethod
    def from_dict(cls, values: dict) -> "About":
        """The inverse of `to_dict`; other entries are ignored."""
        attributes = tuple(
            Attribute(a["name"], a["part"], tuple(a["classes"])) for a in values["attributes"]
        )
        config = configs.from_dict(values["config"])
        digest = values.get("trained_on", "")
        return cls(config, values["phase"], values["identities"], attributes, digest)

    @property
    def _phase(self) -> configs.Phase:
        return next(phase for phase in self.config.phases if phase.name == self.phase)

    @property
    def kind(self) -> str:
        """Which model: "pose", "baseline", "intermediate" or "fgsam"."""
        return self._phase.model

    @property
    def title(self) -> str:
        """The phase as tables name it."""
        return self._phase.title or self.phase

    def model(self, *, axis_name: str | None = None) -> nn.Module:
        """The phase's model."""
        return make_model(
            self.config.model, self.kind, self.identities, self.attributes, axis_name=axis_name
        )


def make_model(
    sizes: configs.Model,
    kind: str,
    identities: int,
    attributes: tuple[Attribute, ...],
    *,
    axis_name: str | None = None,
) -> nn.Module:
    """The model of a phase.

    Args:
      sizes: of its networks.
      kind: "pose", "baseline", "intermediate" or "fgsam".
      identities: of the training split.
      attributes: one head each.
      axis_name: of the devices over which batch statistics are taken.
    """
    dtype: Any = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[sizes.dtype]
    backbone = functools.partial(make_backbone, sizes, dtype, axis_name)
    pose = functools.partial(
        PoseResolveNet, sizes.pose_width, sizes.pose_kernel, sizes.parse, dtype
    )
    if kind == "pose":
        return PoseEstimator(pose())
    if kind == "baseline":
        return Baseline(backbone(), identities)
    fusion = Fusion(sizes.sketch, sizes.bilinear, dtype, axis_name)
    neck: dict[str, Any] = {
        "centre": sizes.centre,
        "axis_name": axis_name,
        "plenary_size": sizes.plenary_size,
    }
    if kind == "intermediate":
        return Intermediate(backbone(), pose(), fusion, identities, attributes, **neck)
    return FGSAM(
        backbone(), pose(), fusion, identities, attributes, part_size=sizes.part_size, **neck
    )


def make_backbone(sizes: configs.Model, dtype: Any, axis_name: str | None) -> nn.Module:
    """Images to a feature map. A new backbone is one file in models/ and one line here."""
    if sizes.backbone in osnet.VARIANTS:
        return osnet.OSNet(sizes.backbone, dtype, axis_name)
    if sizes.backbone in resnet.VARIANTS:
        return resnet.ResNet(
            sizes.backbone, sizes.width, sizes.stem, sizes.last_stride, dtype, axis_name
        )
    choices = ", ".join([*resnet.VARIANTS, *osnet.VARIANTS])
    raise InputError(f"config.model.backbone is one of {choices}; got {sizes.backbone!r}")


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


def checkpoint_folder(workdir: Path, phase: str) -> Path:
    """Where a run keeps the checkpoints of a phase."""
    return Path(workdir) / "checkpoints" / phase


def restore(
    workdir: Path, phase: str | None = None, which: str = "newest"
) -> tuple[About, dict[str, Any], int]:
    """A phase's model and variables from its checkpoint alone.

    Args:
      workdir: of a run.
      phase: its name; None takes the last re-identification phase that has a checkpoint.
      which: "newest" or "best".

    Returns:
      What it is, its variables as `model.apply` takes them, and its step.

    Raises:
      InputError: there is none, or it is broken.
    """
    if phase is None:
        phase = _last_phase(Path(workdir))
    checkpoints = Checkpoints(checkpoint_folder(workdir, phase))
    step = checkpoints.step(which)
    if step is None:
        raise InputError(f"there is no finished checkpoint in {checkpoints.folder}: train first")
    about = About.from_dict(checkpoints.about(step))
    size = (about.config.data.height, about.config.data.width)
    template = variable_shapes(about.model(), *size)
    return about, checkpoints.restore(step, {"variables": template})["variables"], step


def _last_phase(workdir: Path) -> str:
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise InputError(f"{workdir} holds no run: expected the folder checkpoints in it")
    steps = {path.name: Checkpoints(path).step() for path in sorted(folder.iterdir())}
    saved = {name: step for name, step in steps.items() if step is not None}
    for name, step in saved.items():
        about = About.from_dict(Checkpoints(folder / name).about(step))
        for phase in reversed(about.config.phases):
            if phase.model != "pose" and phase.name in saved:
                return phase.name
    raise InputError(f"{folder} holds no checkpoint of a re-identification model: train first")
