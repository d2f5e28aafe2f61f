"""What a phase starts from: its checkpoint, or converted and earlier weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, restore
from fgsam_jax.config import Config, Phase
from fgsam_jax.data import Table
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.models.factory import initial_variables, variable_shapes
from fgsam_jax.runtime.output import say
from fgsam_jax.training.state import TrainState, Tree, make_state, resume_state


def phase_info(config: Config, phase: Phase, datasets: Datasets) -> CheckpointInfo:
    """What the checkpoints of a phase will say; the pose phase needs no images of identities."""
    tested_on = datasets.test_digest(phase.model)
    if phase.model == "pose":
        return CheckpointInfo(config, phase.name, 0, (), datasets.pose_digest, tested_on)
    trained_on = datasets.table("train").digest
    people, attributes = datasets.identities, datasets.attributes
    return CheckpointInfo(config, phase.name, people, attributes, trained_on, tested_on)


def converted_weights(config: Config, shapes: dict[str, Any]) -> dict[str, Any]:
    """The weights of `config.init` that a model takes.

    Args:
      config: of the run.
      shapes: of the model's variables.

    Returns:
      Variables of the model's form, a part of them; empty where the model has no such module.

    Raises:
      InputError: a file is missing or broken, or one of its weights does not fit the model.
    """
    wanted = flatten_dict(shapes)
    modules = {path[1] for path in wanted}
    taken: dict[tuple[str, ...], Any] = {}
    for module, name in vars(config.init).items():
        if not name or module not in modules:
            continue
        from fgsam_jax.weights import hub, storage  # runs from scratch need no reader of files

        where = f"config.init.{module}"
        try:
            held = storage.load(hub.locate(name))
        except InputError as error:
            raise InputError(
                f"{where}={name}: {error}. Where weights come from is in docs/weights.md; "
                f"{where}= (empty) trains from scratch"
            ) from None
        if held.module != module:
            raise InputError(f"{where}={name} holds weights of the {held.module}")
        if module == "backbone" and held.variant != config.model.backbone:
            raise InputError(
                f"{where}={name} is for config.model.backbone={held.variant}, and the run has "
                f"{config.model.backbone}"
            )
        for (collection, *rest), value in held.values.items():
            path = (collection, module, *rest)
            if path not in wanted or wanted[path].shape != value.shape:
                needs = wanted[path].shape if path in wanted else "no such weight"
                raise InputError(
                    f"{where}={name}: {'/'.join(path)} is {value.shape} and the model has {needs}: "
                    "the weights are for the published sizes of config.model"
                )
            taken[path] = value
    return unflatten_dict(taken)


def take_matching(
    shapes: dict[str, Any], sources: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """The variables of earlier phases that fit a model: same path, same shape.

    Converted weights come first among the sources, under the name "config.init".

    Args:
      shapes: of the new model's variables.
      sources: by phase, its variables; a later one wins.

    Returns:
      The variables, and lines that say by module what was taken, what is new and what was dropped.
    """
    wanted = flatten_dict(shapes)
    taken: dict[tuple[str, ...], Any] = {}
    origin: dict[tuple[str, ...], str] = {}
    dropped: dict[str, list[tuple[str, ...]]] = {name: [] for name in sources}
    for name, source in sources.items():
        for path, value in flatten_dict(source).items():
            if path in wanted and wanted[path].shape == value.shape:
                taken[path], origin[path] = value, name
            else:
                dropped[name].append(path)
    lines = [
        f"taken from {name}: {_modules([path for path in origin if origin[path] == name])}"
        for name in sources
    ]
    lines.append(f"new: {_modules([path for path in wanted if path not in taken])}")
    lines += [f"dropped from {name}: {_modules(paths)}" for name, paths in dropped.items() if paths]
    return unflatten_dict(taken), lines


def _modules(paths: list[tuple[str, ...]]) -> str:
    """Paths (collection, module, ...) counted by module."""
    counts: dict[str, int] = {}
    for path in paths:
        counts[path[1]] = counts.get(path[1], 0) + 1
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "nothing"


def prior_biases(table: Table, attributes: Sequence[Attribute]) -> Tree:
    """Biases of attribute heads at the logarithms of the classes' shares among labelled images.

    A head then begins at the majority's answer (Lin et al., "Focal Loss for Dense Object
    Detection", 2017, for rare classes). One image is added to each class, as none may have none.
    """
    biases = {}
    for attribute in attributes:
        labels = table.attributes[attribute.name]
        counts = 1 + np.bincount(labels[labels >= 0], minlength=len(attribute.classes))
        bias = np.log(counts / counts.sum()).astype(np.float32)
        biases[f"attribute_{attribute.name}"] = {"bias": bias}
    return {"params": biases}


def first_state(
    checkpoints: Checkpoints,
    info: CheckpointInfo,
    workdir: Path,
    optimizer: optax.GradientTransformation,
    seed: int,
    phase: Phase,
    last: int,
    datasets: Datasets,
) -> tuple[TrainState, float]:
    """The last checkpoint's state, or a new one with earlier phases' weights; seconds spent."""
    model, data = info.model(), info.config.data
    shapes = variable_shapes(model, data.height, data.width)

    def resume(step: int) -> tuple[TrainState, float]:
        template = jax.eval_shape(lambda v: make_state(v, phase, optimizer), shapes)
        seconds = checkpoints.info(step).get("seconds", 0.0)
        return resume_state(checkpoints, step, template, phase), seconds

    resumed = checkpoints.read(resume)
    if resumed is not None:
        found, step = resumed
        say(f"{phase.name}: resumed at step {step} of {last}")
        return found
    which = info.config.restore
    given = converted_weights(info.config, shapes)
    sources = {"config.init": given} if given else {}
    heads = [a for a in info.attributes if f"attribute_{a.name}" in shapes["params"]]
    if info.config.model.prior_bias and heads:
        sources["class shares"] = prior_biases(datasets.table("train"), heads)
    for name in phase.start_from:
        try:
            sources[name] = restore(workdir, name, which, exact=True)[1]
        except InputError as error:
            raise InputError(
                f"{phase.name} starts from {name}: {error}. Take {name} out of results.json and "
                "start again: it is trained on from its checkpoint before"
            ) from None
    known, lines = take_matching(shapes, sources)
    say(f"{phase.name}: {last} steps; " + "; ".join(lines))
    variables = initial_variables(model, seed, data.height, data.width, known)
    return make_state(variables, phase, optimizer), 0.0
