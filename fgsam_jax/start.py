"""What a phase starts from: its schedule, what it trains, converted and earlier phases' weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax import build, processes
from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.config import Config, Phase
from fgsam_jax.errors import InputError
from fgsam_jax.models.pose import is_parse_block
from fgsam_jax.sets import Sets
from fgsam_jax.step import TrainState, partition


def schedule(phase: Phase, per_epoch: int) -> Callable[[Any], Any]:
    """Learning rate by step: a linear warm-up, then halved every `halve_every` epochs.

    A step of Python gives a number of Python, without a call of the device.
    """

    def rate(step: Any) -> Any:
        halvings = step // (phase.halve_every * per_epoch)
        warm = (np if isinstance(step, int) else jnp).minimum(
            (step + 1) / max(phase.warmup_epochs * per_epoch, 1), 1
        )
        return phase.learning_rate * warm * 0.5**halvings

    return rate


def is_trained(phase: Phase) -> Callable[[tuple[str, ...]], bool]:
    """Which parameters a phase trains, by their path.

    The pose phase leaves the channel parse blocks alone: they are learned for re-identification.
    """
    if phase.model == "pose":
        return lambda path: not is_parse_block(path)
    if phase.train_pose == "all":
        return lambda path: True
    if phase.train_pose == "none":
        return lambda path: path[0] != "pose"
    return lambda path: path[0] != "pose" or is_parse_block(path)


def about_phase(config: Config, phase: Phase, sets: Sets) -> build.About:
    """What the checkpoints of a phase will say; the pose phase needs no images of identities."""
    if phase.model == "pose":
        return build.About(config, phase.name, 0, (), sets.pose_digest)
    digest = sets.table("train").digest
    return build.About(config, phase.name, sets.identities, sets.attributes, digest)


def converted(config: Config, shapes: dict[str, Any]) -> dict[str, Any]:
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
        from fgsam_jax.convert import hub, weights  # runs from scratch need no reader of files

        where = f"config.init.{module}"
        try:
            held = weights.load(hub.locate(name))
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

    Converted weights come first among the sources, under the name "init".

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


def make_state(
    variables: dict[str, Any], phase: Phase, optimizer: optax.GradientTransformation
) -> TrainState:
    """A state at step 0 from variables ("params", "batch_stats", "constants")."""
    params, frozen = partition(variables["params"], is_trained(phase))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=frozen,
        batch_stats=variables["batch_stats"],
        constants=variables["constants"],
        opt_state=jax.jit(optimizer.init)(params),  # in one program, not one for every weight
    )


def save(checkpoints: Checkpoints, state: TrainState, about: dict, map: float | None) -> None:
    """Write a state as variables, which is all that evaluation needs, and the optimiser's part.

    It is written while the next steps run, see `Checkpoints.save`.
    """
    processes.agreed(checkpoints.wait)
    state = jax.device_get(state)
    trees = {"variables": state.variables(), "optimizer": _optimizer_part(state)}
    checkpoints.save(int(state.step), trees, about, map=map)


def resume(checkpoints: Checkpoints, step: int, state: TrainState, phase: Phase) -> TrainState:
    """The state of a checkpoint, in the form of another. Raises InputError if it differs.

    Args:
      checkpoints: of the phase.
      step: of the checkpoint.
      state: of the same shapes, or the shapes themselves.
      phase: says which parameters are trained.
    """
    trees = checkpoints.restore(
        step, {"variables": state.variables(), "optimizer": _optimizer_part(state)}
    )
    variables = trees["variables"]
    params, frozen = partition(variables["params"], is_trained(phase))
    return TrainState(
        step=trees["optimizer"]["step"],
        params=params,
        frozen=frozen,
        batch_stats=variables["batch_stats"],
        constants=variables["constants"],
        opt_state=trees["optimizer"]["state"],
    )


def _optimizer_part(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "state": state.opt_state}


def _modules(paths: list[tuple[str, ...]]) -> str:
    """Paths (collection, module, ...) counted by module."""
    counts: dict[str, int] = {}
    for path in paths:
        counts[path[1]] = counts.get(path[1], 0) + 1
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "nothing"
