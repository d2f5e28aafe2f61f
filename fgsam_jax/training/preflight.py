"""What is refused before a run trains: a folder of another run, and whatever would fail later."""

from collections.abc import Collection
from pathlib import Path

import jax

from fgsam_jax.checkpoint import CheckpointInfo, checkpoint_folder, described
from fgsam_jax.config import Config, Phase, taught_attributes
from fgsam_jax.data.checks import perhaps_from_zero
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.data.splits import SPLITS
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.reid import check_matches
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.models.factory import variable_shapes
from fgsam_jax.models.outputs import PLENARY
from fgsam_jax.runtime.output import say
from fgsam_jax.training.initialize import converted_weights, phase_info


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
            _check_branches(phase, datasets, taught_attributes(config.loss))
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


def _check_branches(phase: Phase, datasets: Datasets, names: tuple[str, ...]) -> None:
    """Refuse a part branch that no loss would train: it would be noise in the descriptor."""
    known = [attribute.name for attribute in datasets.attributes]
    if strange := set(names) - set(known):
        raise InputError(
            f"config.loss.attributes has {', '.join(sorted(strange))}; the training images are "
            f"labelled with {', '.join(known) or 'no attribute'}"
        )
    if phase.model != "fgsam" or phase.triplet != "none":
        return
    taught = {a.part for a in datasets.attributes if not names or a.name in names}
    idle = [part for part in PARTS if part != PLENARY and part not in taught]
    if idle:
        raise InputError(
            f"{phase.name}: nothing teaches the branches {', '.join(idle)}, as no training image "
            f"has an attribute there and the phase's triplet loss is none: set its triplet to "
            f"focal and images_per_identity to 2 or more, or label such attributes"
        )
