"""Checkpoints by Orbax; the only file that knows Orbax."""

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from fgsam_jax.errors import InputError
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
