"""The phases in order: start a state, run the steps, log, save, evaluate, hand over."""

import functools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax

from fgsam_jax import build, objective, start
from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.config import Config, Phase, to_dict
from fgsam_jax.errors import InputError
from fgsam_jax.evaluate import evaluate_phase
from fgsam_jax.log import PhaseLog, say, write_atomically
from fgsam_jax.sets import Sets
from fgsam_jax.step import AXIS, TrainState, parallel_train_step, replicate

_RESULTS = "results.json"


def train(config: Config, workdir: Path, sets: Sets) -> list[dict]:
    """Run all phases, from where an earlier run in this folder stopped.

    Args:
      config: of the run.
      workdir: gets the checkpoints, the logs and results.json.
      sets: of the configuration.

    Returns:
      What each phase scored, see `evaluate_phase`, with its "seconds".

    Raises:
      InputError: something given cannot be used; the message says what.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the run's folder cannot be made: {error}; name another --workdir"
        ) from None
    path = workdir / _RESULTS
    results = json.loads(path.read_text()) if path.exists() else {}
    _claim(config, workdir, results)
    _rehearse(config, sets, results)
    for index, phase in enumerate(config.phases):
        if phase.name in results:
            say(f"{phase.name}: finished before, {results[phase.name]['headline']}")
            continue
        seconds = _train_phase(config, workdir, index, sets)
        # What is reported is what the checkpoint gives back.
        about, variables, _ = build.restore(workdir, phase.name, config.restore)
        result = evaluate_phase(about, variables, sets) | {"seconds": seconds}
        say(f"{phase.name}: {result['headline']} after {seconds:.0f} s")
        results[phase.name] = result
        write_atomically(path, json.dumps(results, indent=1))
    return list(results.values())


def _train_phase(config: Config, workdir: Path, index: int, sets: Sets) -> float:
    """Bring one phase to its last step; returns the seconds spent on it, in all runs together."""
    phase = config.phases[index]
    devices = jax.local_device_count()
    seed = 1000 * config.seed + index
    batches = sets.batches(phase, seed=seed, devices=devices)
    last = batches.per_epoch * phase.epochs
    about = about_phase(config, phase, sets)
    checkpoints = Checkpoints(
        build.checkpoint_folder(workdir, phase.name), keep=config.log.keep, create=True
    )
    learning_rate = start.schedule(phase, batches.per_epoch)
    optimizer = optax.adam(learning_rate)
    state, seconds = _first_state(checkpoints, about, workdir, optimizer, seed, phase, last)
    state = replicate(state)
    key = replicate(jax.random.key(seed))
    step_function = parallel_train_step(
        model=about.model(axis_name=AXIS),
        objective=_objective(config, phase),
        optimizer=optimizer,
        flip=phase.flip,
    )
    log = PhaseLog(
        workdir,
        phase.name,
        first=int(state.step),
        last=last,
        per_epoch=batches.per_epoch,
        every=config.log.every,
    )
    begun = time.monotonic() - seconds
    running: dict[str, Any] = {}

    def finish(step: int) -> None:
        """Read the metrics of step number `step`, from 1, and stop at a loss that is no number."""
        metrics = {name: float(value) for name, value in jax.device_get(running).items()}
        if not metrics.pop("finite"):
            raise InputError(
                f"{phase.name}: the loss is {metrics['total']} at step {step} and the parameters "
                f"after it are no numbers; the newest good checkpoint is of step "
                f"{checkpoints.step() or 0}. Lower the phase's learning rate of "
                f"{phase.learning_rate:g}; starting again with it repeats this phase alone"
            )
        log.step(step, metrics, float(learning_rate(step - 1)), phase.batch)

    try:
        first = int(state.step)
        for step, batch in enumerate(batches.between(first, last), first):
            # The device works on the next step while the host reads this one's metrics.
            after = step_function(state, batch, key)
            if running:
                finish(step)
            state, running = after
            epoch, inside = divmod(step + 1, batches.per_epoch)
            if inside:
                continue
            finish(step + 1)
            running = {}
            scored = None
            every = config.log.evaluate_every
            if every and (epoch % every == 0 or step + 1 == last):
                result = evaluate_phase(about, state.variables(), sets)
                say(f"{phase.name} epoch {epoch}: {result['headline']}")
                scored = result.get("map")
            if scored is not None or epoch % config.log.save_every == 0 or step + 1 == last:
                spent = {"seconds": time.monotonic() - begun}
                start.save(checkpoints, state, about.to_dict() | spent, scored)
    finally:
        log.close()
    return time.monotonic() - begun


def about_phase(config: Config, phase: Phase, sets: Sets) -> build.About:
    """What the checkpoints of a phase will say; the pose phase needs no images of identities."""
    if phase.model == "pose":
        return build.About(config, phase.name, 0, ())
    return build.About(config, phase.name, sets.identities, sets.attributes)


def _first_state(
    checkpoints: Checkpoints,
    about: build.About,
    workdir: Path,
    optimizer: optax.GradientTransformation,
    seed: int,
    phase: Phase,
    last: int,
) -> tuple[TrainState, float]:
    """The newest checkpoint's state, or a new one with earlier phases' weights; seconds spent."""
    model, data = about.model(), about.config.data
    shapes = build.variable_shapes(model, data.height, data.width)
    saved = checkpoints.step()
    if saved is not None:
        template = jax.eval_shape(lambda v: start.make_state(v, phase, optimizer), shapes)
        state = start.resume(checkpoints, saved, template, phase)
        say(f"{phase.name}: resumed at step {saved} of {last}")
        return state, checkpoints.about(saved)["seconds"]
    which = about.config.restore
    sources = {"config.init": start.converted(about.config, shapes)}
    sources |= {name: build.restore(workdir, name, which)[1] for name in phase.start_from}
    known, lines = start.take_matching(shapes, sources)
    say(f"{phase.name}: {last} steps; " + "; ".join(lines))
    variables = build.initial_variables(model, seed, data.height, data.width, known)
    return start.make_state(variables, phase, optimizer), 0.0


def _objective(config: Config, phase: Phase) -> Callable:
    if phase.model == "pose":
        return functools.partial(objective.pose, sigma=config.pose_data.sigma)
    return functools.partial(
        objective.recognition,
        triplet=phase.triplet,
        margin=config.loss.margin,
        bound=config.loss.bound,
        gamma=config.loss.gamma,
        mining=config.loss.mining,
        axis_name=AXIS,
    )


def _rehearse(config: Config, sets: Sets, results: dict[str, dict]) -> None:
    """Whatever can be refused is refused now, not after hours of the phases before."""
    devices = jax.local_device_count()
    modules: set[str] = set()
    for phase in config.phases:
        pose = phase.model == "pose"
        sets.batches(phase, seed=0, devices=devices)
        model = about_phase(config, phase, sets).model()
        shapes = build.variable_shapes(model, config.data.height, config.data.width)
        modules |= set(shapes["params"])
        if phase.name not in results:
            start.converted(config, shapes)
        tables = [sets.pose("val")] if pose else [sets.table("query"), sets.table("gallery")]
        if not all(map(len, tables)):
            raise InputError(f"{phase.name}: there is nothing to evaluate on, a split is empty")
    for name, value in vars(config.init).items():
        if value and name not in modules:
            raise InputError(f"config.init.{name} is given, and no phase has a {name}")


def _claim(config: Config, workdir: Path, results: dict[str, dict]) -> None:
    """Keep the configuration in the folder; refuse a folder that holds a run of another one.

    Paths, logging and evaluation may differ, and so may a phase that has no result yet: it starts
    again. So do all that have none when `config.init` differs; the finished ones stay.
    """
    path = workdir / "config.json"
    wanted = json.loads(json.dumps(to_dict(config)))
    if path.exists():
        held = json.loads(path.read_text())
        for name, value in _settings(held).items():
            if value != _settings(wanted).get(name):
                raise InputError(
                    f"{workdir} holds a run of another configuration (config.{name} differs): "
                    "choose another --workdir, or give the same configuration to resume"
                )
        phases = {phase["name"]: phase for phase in wanted["phases"]}
        same_start = held.get("init", {"backbone": "", "pose": ""}) == wanted["init"]
        for phase in held["phases"]:
            name = phase["name"]
            if phases.get(name) == phase and (same_start or name in results):
                continue
            if name in results:
                raise InputError(
                    f"{workdir} holds a finished phase {name} of another configuration: choose "
                    "another --workdir, or give the same configuration to resume"
                )
            say(f"{name}: changed before it was finished, it starts again")
            shutil.rmtree(build.checkpoint_folder(workdir, name), ignore_errors=True)
    write_atomically(path, json.dumps(wanted, indent=1))


def _settings(values: dict) -> dict:
    """The part of a configuration that shapes the numbers, apart from the phases."""
    free = ("phases", "init", "log", "evaluation_batch", "restore", "references", "repeats")
    paths = ("source", "records", "attributes", "joints", "folder")
    return {
        name: {key: v for key, v in value.items() if key not in paths}
        if isinstance(value, dict)
        else value
        for name, value in values.items()
        if name not in free
    }
