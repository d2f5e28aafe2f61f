"""What a checkpoint says of itself, and a phase's model restored from it alone."""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn

from fgsam_jax import config as configs
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.models.factory import make_model, variable_shapes
from fgsam_jax.runtime.checkpoints import Checkpoints as Checkpoints


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself: enough to build its model and to name its outputs."""

    config: configs.Config
    phase: str
    identities: int
    attributes: tuple[Attribute, ...]
    trained_on: str = ""  # a digest of the training images and of all that is said of them
    tested_on: str = ""  # and of the images that it is judged on

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "config": configs.to_dict(self.config),
            "phase": self.phase,
            "identities": self.identities,
            "attributes": [asdict(attribute) for attribute in self.attributes],
            "trained_on": self.trained_on,
            "tested_on": self.tested_on,
        }

    @classmethod
    def from_dict(cls, values: dict) -> "CheckpointInfo":
        """The inverse of `to_dict`; other entries are ignored. Raises InputError if some lack."""
        try:
            attributes = tuple(
                Attribute(a["name"], a["part"], tuple(a["classes"])) for a in values["attributes"]
            )
            config = configs.from_dict(values["config"])
            digests = values.get("trained_on", ""), values.get("tested_on", "")
            made = cls(config, values["phase"], values["identities"], attributes, *digests)
            made.title  # noqa: B018 - its phase is one of the configuration's
        except (LookupError, TypeError, AttributeError, StopIteration) as error:
            raise InputError(f"the checkpoint's description is damaged: {error!r}") from None
        return made

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
            self.config.model,
            self.kind,
            self.identities,
            self.attributes,
            triplet_vector=self._phase.triplet_vector,
            axis_name=axis_name,
        )


def checkpoint_folder(workdir: Path, phase: str) -> Path:
    """Where a run keeps the checkpoints of a phase."""
    return Path(workdir) / "checkpoints" / phase


def restore(
    workdir: Path, phase: str | None = None, which: str = "last", *, exact: bool = False
) -> tuple[CheckpointInfo, dict[str, Any], int]:
    """A phase's model and variables from its checkpoint alone.

    Args:
      workdir: of a run.
      phase: its name; None takes the last re-identification phase that has a checkpoint.
      which: "last" or "best".
      exact: where that one is broken, do not take another and say so, but raise.

    Returns:
      What it is, its variables as `model.apply` takes them, and its step.

    Raises:
      InputError: there is none, it is broken, or `which` is another word.
    """
    if which not in ("last", "best"):
        raise InputError(f'which is "last" or "best", got {which!r}')
    if phase is None:
        phase = _last_phase(Path(workdir))
    checkpoints = Checkpoints(checkpoint_folder(workdir, phase))

    def one(step: int) -> tuple[CheckpointInfo, dict[str, Any]]:
        info = CheckpointInfo.from_dict(checkpoints.info(step))
        size = (info.config.data.height, info.config.data.width)
        template = variable_shapes(info.model(), *size)
        return info, checkpoints.restore(step, {"variables": template})["variables"]

    found = checkpoints.read(one, which, exact=exact)
    if found is None:
        raise InputError(f"there is no finished checkpoint in {checkpoints.folder}: train first")
    (info, variables), step = found
    return info, variables, step


def described(folder: Path) -> CheckpointInfo | None:
    """What the newest checkpoint of a folder that is whole enough says of itself."""
    checkpoints = Checkpoints(folder)
    for step in checkpoints.steps():
        with contextlib.suppress(InputError):
            return CheckpointInfo.from_dict(checkpoints.info(step))
    return None


def _last_phase(workdir: Path) -> str:
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise InputError(f"{workdir} holds no run: expected the folder checkpoints in it")
    # Other files and folders may lie beside the phases: a person or a file manager puts them there.
    saved = [x.name for x in sorted(folder.iterdir()) if x.is_dir() and Checkpoints(x).steps()]
    for info in filter(None, (described(folder / name) for name in saved)):
        for phase in reversed(info.config.phases):
            if phase.model != "pose" and phase.name in saved:
                return phase.name
    raise InputError(f"{folder} holds no checkpoint of a re-identification model: train first")
