"""Checkpoints by Orbax, which describe themselves; the only file that knows Orbax."""

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import orbax.checkpoint as ocp
from absl import logging

from fgsam_jax import config as configs
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.models.factory import make_model, variable_shapes
from fgsam_jax.runtime import distributed
from fgsam_jax.version import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_METRIC = "map"


class Checkpoints:
    """The checkpoints of one phase: the last `keep` and the best by mAP.

    A thread writes them while training goes on; Orbax's own would first copy and plan for longer.
    Of several processes the first writes and the others only read, and Orbax is told of no other:
    its barriers are collectives, which must not come between those of the steps, and the others
    would wait at them for a first that cannot write.
    """

    def __init__(self, folder: Path, *, keep: int = 2, create: bool = False):
        """Open a folder; with `create` it may be absent. Raises InputError if it is."""
        self.folder = Path(folder).resolve()
        if create:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self.folder.is_dir():
            raise InputError(f"there is no checkpoint at {self.folder}: train first")
        self._writes = create and distributed.first()
        self._thread = ThreadPoolExecutor(1)
        self._write: Future | None = None
        me = jax.process_index()
        policies = ocp.checkpoint_managers
        best = policies.BestN(get_metric_fn=_map_of, n=1, keep_checkpoints_without_metrics=False)
        with _quiet():
            options = ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                best_fn=_map_of,
                create=False,
                read_only=not self._writes,
                cleanup_tmp_directories=self._writes,
                enable_async_checkpointing=False,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=me, active_processes={me}
                ),
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def step(self, which: str = "last") -> int | None:
        """Step of the last or best checkpoint; None where there is none.

        The last stands in for the best while no checkpoint has been evaluated.
        """
        self.wait()
        if not self._writes:
            self._manager.reload()
        last = self._manager.latest_step()
        if which == "best":
            best = self._manager.best_step()
            return last if best is None else best
        return last

    def save(
        self, step: int, trees: dict[str, Any], info: dict, *, map: float | None = None
    ) -> None:
        """Begin to write named trees of NumPy arrays and what they are, as a new step's checkpoint.

        The one before is waited for; `wait` must follow the last.

        Raises:
          InputError: the one before could not be written.
        """
        self.wait()
        if not self._writes:
            return
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        info = {**info, "versions": versions()}
        arguments = ocp.args.Composite(info=ocp.args.JsonSave(info), **items)
        metrics = None if map is None else {_METRIC: map}
        self._write = self._thread.submit(
            self._manager.save, step, args=arguments, metrics=metrics, force=True
        )

    def wait(self) -> None:
        """Wait until the newest checkpoint is whole. Raises InputError if it cannot be written."""
        try:
            if self._write:
                self._write.result()
        except (ValueError, OSError) as error:
            cause = " ".join(str(error).split()).rpartition('": ')[2]  # after TensorStore's files
            raise InputError(
                f"no checkpoint can be written to {self.folder}: {cause}. Mend that; the "
                "same command goes on from the newest whole one"
            ) from error

    def info(self, step: int) -> dict:
        """What the checkpoint of this step says of itself. Raises InputError if it is broken."""
        return self._restore(step, info=ocp.args.JsonRestore())["info"]

    def restore(self, step: int, templates: dict[str, Any]) -> dict[str, Any]:
        """Named trees of NumPy arrays, in the form of their templates (arrays or their shapes).

        Raises:
          InputError: the checkpoint is of another model, or broken.
        """
        items = {
            name: ocp.args.StandardRestore(
                jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
            )
            for name, tree in templates.items()
        }
        restored = self._restore(step, **items)
        return {name: jax.device_get(restored[name]) for name in templates}

    def _restore(self, step: int, **arguments: Any) -> Any:
        try:
            with _quiet():
                return self._manager.restore(step, args=ocp.args.Composite(**arguments))
        except (ValueError, KeyError, TypeError, OSError, json.JSONDecodeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"the checkpoint {self.folder / str(step)} is broken or of another model: {reason}"
            ) from error


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the packages that shape the numbers."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"fgsam_jax": __version__, "python": platform.python_version(), **found}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Orbax's warnings: that a folder is opened to be read only is meant."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _map_of(metrics: dict[str, float]) -> float:
    return metrics[_METRIC]


@dataclass(frozen=True)
class CheckpointInfo:
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
    def from_dict(cls, values: dict) -> "CheckpointInfo":
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


def checkpoint_folder(workdir: Path, phase: str) -> Path:
    """Where a run keeps the checkpoints of a phase."""
    return Path(workdir) / "checkpoints" / phase


def restore(
    workdir: Path, phase: str | None = None, which: str = "last"
) -> tuple[CheckpointInfo, dict[str, Any], int]:
    """A phase's model and variables from its checkpoint alone.

    Args:
      workdir: of a run.
      phase: its name; None takes the last re-identification phase that has a checkpoint.
      which: "last" or "best".

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
    info = CheckpointInfo.from_dict(checkpoints.info(step))
    size = (info.config.data.height, info.config.data.width)
    template = variable_shapes(info.model(), *size)
    return info, checkpoints.restore(step, {"variables": template})["variables"], step


def _last_phase(workdir: Path) -> str:
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise InputError(f"{workdir} holds no run: expected the folder checkpoints in it")
    steps = {path.name: Checkpoints(path).step() for path in sorted(folder.iterdir())}
    saved = {name: step for name, step in steps.items() if step is not None}
    for name, step in saved.items():
        info = CheckpointInfo.from_dict(Checkpoints(folder / name).info(step))
        for phase in reversed(info.config.phases):
            if phase.model != "pose" and phase.name in saved:
                return phase.name
    raise InputError(f"{folder} holds no checkpoint of a re-identification model: train first")
