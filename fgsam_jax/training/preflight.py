"""What is refused before a run trains: a folder of another run, and whatever would fail later."""

import hashlib
import json
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import jax

from fgsam_jax.checkpoint import CheckpointInfo, checkpoint_folder, described
from fgsam_jax.config import Config, Phase, from_dict, to_dict
from fgsam_jax.data.checks import perhaps_from_zero
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.data.splits import SPLITS
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.reid import check_matches
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.models.factory import variable_shapes
from fgsam_jax.models.fgsam import PLENARY
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.files import read_bytes, read_json
from fgsam_jax.runtime.output import say, write_atomically
from fgsam_jax.training.initialize import converted_weights, phase_info

_KEPT = "config.json"


def check_phases(
    config: Config,
    workdir: Path,
    datasets: Datasets,
    results: dict[str, dict],
    changed: Collection[str] = (),
) -> None:
    """Refuse now what would fail after hours of the phases before.

    Args:
      config: of the run.
      workdir: of the run.
      datasets: of the configuration.
      results: of the phases that are finished.
      changed: phases that start again, see `changed_phases`.

    Raises:
      InputError: a phase cannot be trained or evaluated; the message says why.
    """
    devices = jax.device_count()
    for phase in config.phases:
        datasets.batches(phase, seed=0, devices=devices)
        info = phase_info(config, phase, datasets)
        if phase.name not in changed:
            _check_same_set(info, workdir)
        if phase.model == "pose":
            _check_joints(phase, datasets)
        else:
            _check_branches(phase, datasets)
    _check_models(config, datasets, results)
    if any(phase.model != "pose" for phase in config.phases):
        check_matches(datasets.table("query"), datasets.table("gallery"))
        for problem in perhaps_from_zero(*(datasets.table(split).identities for split in SPLITS)):
            say(f"warning: {problem.text}")


def _check_models(config: Config, datasets: Datasets, results: dict[str, dict]) -> None:
    """Refuse models that cannot be built, and weights that do not fit an unfinished phase's."""
    # A model of these kinds holds every network of the other phases: tracing it is enough.
    whole = [phase for phase in config.phases if phase.model in ("intermediate", "fgsam")]
    modules: set[str] = set()
    for phase in whole[-1:] or config.phases:
        model = phase_info(config, phase, datasets).model()
        shapes = variable_shapes(model, config.data.height, config.data.width)
        modules |= set(shapes["params"])
        if phase.name not in results:
            converted_weights(config, shapes)
    for name, value in vars(config.init).items():
        if value and name not in modules:
            raise InputError(f"config.init.{name} is given, and no phase has a {name}")


def _check_same_set(info: CheckpointInfo, workdir: Path) -> None:
    """Refuse a folder whose checkpoints are of other data: their results would be shown again."""
    folder = checkpoint_folder(workdir, info.phase)
    held = described(folder) if folder.is_dir() else None
    if held is None:
        return
    if (held.trained_on, held.attributes) != (info.trained_on, info.attributes):
        raise InputError(
            f"{workdir} holds a run on another set: the training images of {info.phase}, their "
            f"people, attributes or joints differ; choose another --workdir"
        )
    if held.tested_on != info.tested_on and info.config.restore == "best":
        raise InputError(
            f"the best checkpoint of {info.phase} was chosen on other test images than the present "
            f"ones: choose another --workdir, or --config.restore=last"
        )


def _check_joints(phase: Phase, datasets: Datasets) -> None:
    joints = datasets.pose("val").joints
    assert joints is not None
    if not len(joints) or not (joints[..., 2] >= 0).any():
        raise InputError(
            f"{phase.name}: there is nothing to evaluate on, no validation image has a joint"
        )


def _check_branches(phase: Phase, datasets: Datasets) -> None:
    """Refuse a part branch that no loss would train: it would be noise in the descriptor."""
    if phase.model != "fgsam" or phase.triplet != "none":
        return
    taught = {attribute.part for attribute in datasets.attributes}
    idle = [part for part in PARTS if part != PLENARY and part not in taught]
    if idle:
        raise InputError(
            f"{phase.name}: nothing teaches the branches {', '.join(idle)}, as no training image "
            f"has an attribute there and the phase's triplet loss is none: set its triplet to "
            f"focal and images_per_identity to 2 or more, or label such attributes"
        )


def changed_phases(config: Config, workdir: Path, results: dict[str, dict]) -> list[str]:
    """Refuse a folder that holds a run of another configuration.

    Paths, logging and evaluation may differ, and so may a phase that has no result yet: it starts
    again. So do all that have none when `config.init` differs; the finished ones stay.

    Returns:
      The names of the phases that start again.
    """
    path = workdir / _KEPT
    if not path.exists():
        return []
    changed: list[str] = []
    wanted = _plain(config)
    try:
        held = _plain(from_dict(read_json(path)))
    except InputError as error:
        raise InputError(
            f"the configuration of {path.parent} is damaged: {error}. If the run was begun with "
            "this configuration, remove config.json; else choose another --workdir"
        ) from None
    for name, value in _settings(held).items():
        if value != _settings(wanted).get(name):
            raise InputError(
                f"{workdir} holds a run of another configuration (config.{name} differs): "
                "choose another --workdir, or give the same configuration to resume"
            )
    phases = {phase["name"]: phase for phase in wanted["phases"]}
    same_start = held["init"] == wanted["init"]
    for phase in held["phases"]:
        name = phase["name"]
        if phases.get(name) == phase and (same_start or name in results):
            continue
        if name in results:
            raise InputError(
                f"{workdir} holds a finished phase {name} of another configuration: choose "
                "another --workdir, or give the same configuration to resume"
            )
        changed.append(name)
    return changed


def record_config(config: Config, workdir: Path, changed: Collection[str]) -> None:
    """Keep the configuration in the folder, and drop what phases that start again have left.

    Of several processes all have compared before the first writes.
    """
    distributed.wait("the configuration has been compared")
    for name in changed:
        say(f"{name}: changed before it was finished, it starts again")
        if distributed.first():
            shutil.rmtree(checkpoint_folder(workdir, name), ignore_errors=True)
    write_atomically(workdir / _KEPT, json.dumps(_plain(config), indent=1))
    distributed.wait("the configuration is written")
    distributed.check_alike(lambda: {str(workdir / _KEPT): _seen(workdir / _KEPT)})


def _seen(path: Path) -> str:
    """A digest of what the first process has written, if this one is in the same folder."""
    until = time.monotonic() + 60  # a network's disk may take its time
    while not path.is_file() and time.monotonic() < until:
        time.sleep(1)
    return hashlib.sha256(read_bytes(path)).hexdigest()[:16]


def _plain(config: Config) -> dict:
    """As it is written: JSON knows no tuples."""
    return json.loads(json.dumps(to_dict(config)))


def _settings(values: dict) -> dict:
    """The part of a configuration that shapes the numbers, apart from the phases."""
    free = (
        "phases",
        "init",
        "compute",
        "log",
        "evaluation_batch",
        "mirror",
        "restore",
        "references",
        "repeats",
    )
    paths = ("source", "records", "attributes", "joints", "folder", "outside")
    return {
        name: {key: v for key, v in value.items() if key not in paths}
        if isinstance(value, dict)
        else value
        for name, value in values.items()
        if name not in free
    }
