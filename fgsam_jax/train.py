"""The phases in order: start a state, run the steps, log, save, evaluate, hand over."""

import functools
import gc
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import optax

from fgsam_jax import build, objective, processes, start
from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.config import Config, Phase
from fgsam_jax.errors import InputError
from fgsam_jax.evaluate import evaluate_phase
from fgsam_jax.feeds import feeds_of
from fgsam_jax.log import PhaseLog, say, write_atomically
from fgsam_jax.rehearse import claim, judge, rehearse
from fgsam_jax.sets import Feed, Sets
from fgsam_jax.step import AXIS, TrainState, is_finite, parallel_train_steps, replicate

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
        workdir.mkdir(parents=True, exist_ok=True)  # all processes see one folder
    except OSError as error:
        raise InputError(
            f"the run's folder cannot be made: {error}; name another --workdir"
        ) from None
    path = workdir / _RESULTS
    results = json.loads(path.read_text()) if path.exists() else {}
    changed = judge(config, workdir, results)
    rehearse(config, workdir, sets, results, changed)
    claim(config, workdir, changed)
    for index, phase in enumerate(config.phases):
        if phase.name in results:
            say(f"{phase.name}: finished before, {results[phase.name]['headline']}")
            continue
        seconds = _train_phase(config, workdir, index, sets)
        gc.collect()  # cycles would hold device memory: `host.tune` lets Python look rarely
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
    seed = 1000 * config.seed + index
    batches = sets.batches(
        phase,
        seed=seed,
        devices=jax.local_device_count(),
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    last = batches.per_epoch * phase.epochs
    about = start.about_phase(config, phase, sets)
    checkpoints = Checkpoints(
        build.checkpoint_folder(workdir, phase.name), keep=config.log.keep, create=True
    )
    learning_rate = start.schedule(phase, batches.per_epoch)
    optimizer = optax.adam(learning_rate)
    state, seconds = _first_state(checkpoints, about, workdir, optimizer, seed, phase, last)
    state = replicate(state)
    key = replicate(jax.random.key(seed))
    update = parallel_train_steps(
        model=about.model(axis_name=AXIS),
        dtype=config.model.dtype,
        objective=_objective(config, phase),
        optimizer=optimizer,
        flip=phase.flip,
        accumulate=phase.accumulate,
        remat=config.compute.remat,
    )
    first = int(state.step)
    log = None
    if processes.first():
        log = PhaseLog(
            workdir,
            phase.name,
            first=first,
            last=last,
            per_epoch=batches.per_epoch,
            every=config.log.every,
        )
    begun = time.monotonic() - seconds

    def note(before: int, count: int, metrics: dict[str, jax.Array]) -> None:
        history = jax.device_get(metrics)
        for place in range(count):
            values = {name: float(value[place]) for name, value in history.items()}
            done = before + place + 1
            if not math.isfinite(values["total"]):
                raise _no_number(
                    phase, f"the loss is {values['total']} at step {done}", checkpoints
                )
            if log:
                log.step(done, values, float(learning_rate(done - 1)), phase.batch)

    def lower(columns: Any, feed: Any, count: int) -> jax.stages.Lowered:
        return update.lower(state, columns, feed, count, key)

    try:
        columns, feeds = feeds_of(batches, first, last, config.compute, lower)

        def advance(state: TrainState, feed: Any, count: int) -> tuple[TrainState, dict]:
            return update(state, columns, feed, count, key)

        for step, now in _epochs(advance, state, first, feeds, batches.per_epoch, note):
            if not is_finite(now):
                raise _no_number(
                    phase, f"the weights after step {step} are no numbers", checkpoints
                )
            epoch, scored = step // batches.per_epoch, None
            every = config.log.evaluate_every
            if every and (epoch % every == 0 or step == last):
                result = evaluate_phase(about, now.variables(), sets)
                say(f"{phase.name} epoch {epoch}: {result['headline']}")
                scored = result.get("map")
            if scored is not None or epoch % config.log.save_every == 0 or step == last:
                spent = {"seconds": time.monotonic() - begun}
                start.save(checkpoints, now, about.to_dict() | spent, scored)
        processes.agreed(checkpoints.wait)
    finally:
        if log:
            log.close()
        checkpoints.wait()
    return time.monotonic() - begun


def _epochs(
    advance: Callable[[TrainState, Any, int], tuple[TrainState, dict]],
    state: TrainState,
    step: int,
    feeds: Iterator[Feed],
    per_epoch: int,
    note: Callable[[int, int, dict], None],
) -> Iterator[tuple[int, TrainState]]:
    """Runs the steps that the feeds hold, and gives the step and the state at every epoch's end.

    `note` is told of each call's updates: the steps before it, how many it made, their metrics. It
    reads them while the device works on the next call.
    """
    running: tuple = ()
    for count, feed in feeds:
        state, metrics = advance(state, feed, count)
        if running:
            note(*running)
        running = step, count, metrics
        step += count
        if step % per_epoch == 0:
            note(*running)
            running = ()
            yield step, state


def _no_number(phase: Phase, what: str, checkpoints: Checkpoints) -> InputError:
    return InputError(
        f"{phase.name}: {what}; the newest good checkpoint is of step {checkpoints.step() or 0}. "
        f"Lower the phase's learning rate of {phase.learning_rate:g}; starting again with it "
        "repeats this phase alone"
    )


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
    given = start.converted(about.config, shapes)
    sources = {"config.init": given} if given else {}
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
