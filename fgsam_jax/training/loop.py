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

from fgsam_jax import objective
from fgsam_jax.checkpoint import Checkpoints, checkpoint_folder, restore
from fgsam_jax.config import Config, Phase
from fgsam_jax.data.batches import DeviceBatches, device_batches
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import evaluate_phase
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.distributed import AXIS, replicate
from fgsam_jax.runtime.output import say, write_atomically
from fgsam_jax.training.initialize import first_state, phase_info
from fgsam_jax.training.logger import PhaseLog
from fgsam_jax.training.optim import schedule
from fgsam_jax.training.preflight import changed_phases, check_phases, record_config
from fgsam_jax.training.state import TrainState, save_state
from fgsam_jax.training.step import is_finite, parallel_train_steps

_RESULTS = "results.json"


def train(config: Config, workdir: Path, datasets: Datasets) -> list[dict]:
    """Run all phases, from where an earlier run in this folder stopped.

    Args:
      config: of the run.
      workdir: gets the checkpoints, the logs and results.json.
      datasets: of the configuration.

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
    changed = changed_phases(config, workdir, results)
    check_phases(config, workdir, datasets, results, changed)
    record_config(config, workdir, changed)
    for index, phase in enumerate(config.phases):
        if phase.name in results:
            say(f"{phase.name}: finished before, {results[phase.name]['headline']}")
            continue
        seconds = _train_phase(config, workdir, index, datasets)
        gc.collect()  # cycles would hold device memory: `startup.tune` lets Python look rarely
        # What is reported is what the checkpoint gives back.
        info, variables, _ = restore(workdir, phase.name, config.restore)
        result = evaluate_phase(info, variables, datasets) | {"seconds": seconds}
        say(f"{phase.name}: {result['headline']} after {seconds:.0f} s")
        results[phase.name] = result
        write_atomically(path, json.dumps(results, indent=1))
    return list(results.values())


def _train_phase(config: Config, workdir: Path, index: int, datasets: Datasets) -> float:
    """Bring one phase to its last step; returns the seconds spent on it, in all runs together."""
    phase = config.phases[index]
    seed = 1000 * config.seed + index
    batches = datasets.batches(
        phase,
        seed=seed,
        devices=jax.local_device_count(),
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    last = batches.per_epoch * phase.epochs
    info = phase_info(config, phase, datasets)
    checkpoints = Checkpoints(
        checkpoint_folder(workdir, phase.name), keep=config.log.keep, create=True
    )
    learning_rate = schedule(phase, batches.per_epoch)
    optimizer = optax.adam(learning_rate)
    state, seconds = first_state(checkpoints, info, workdir, optimizer, seed, phase, last)
    state = replicate(state)
    key = replicate(jax.random.key(seed))
    update = parallel_train_steps(
        model=info.model(axis_name=AXIS),
        dtype=config.model.dtype,
        objective=_objective(config, phase),
        optimizer=optimizer,
        flip=phase.flip,
        accumulate=phase.accumulate,
        remat=config.compute.remat,
    )
    first = int(state.step)
    log = None
    if distributed.first():
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

    def lower(columns: Any, chunk: Any, count: int) -> jax.stages.Lowered:
        return update.lower(state, columns, chunk, count, key)

    try:
        columns, chunks = device_batches(batches, first, last, config.compute, lower)

        def advance(state: TrainState, chunk: Any, count: int) -> tuple[TrainState, dict]:
            return update(state, columns, chunk, count, key)

        for step, now in _epochs(advance, state, first, chunks, batches.per_epoch, note):
            if not is_finite(now):
                raise _no_number(
                    phase, f"the weights after step {step} are no numbers", checkpoints
                )
            epoch, scored = step // batches.per_epoch, None
            every = config.log.evaluate_every
            if every and (epoch % every == 0 or step == last):
                result = evaluate_phase(info, now.variables(), datasets)
                say(f"{phase.name} epoch {epoch}: {result['headline']}")
                scored = result.get("map")
            if scored is not None or epoch % config.log.save_every == 0 or step == last:
                spent = {"seconds": time.monotonic() - begun}
                save_state(checkpoints, now, info.to_dict() | spent, scored)
        distributed.agreed(checkpoints.wait)
    finally:
        if log:
            log.close()
        checkpoints.wait()
    return time.monotonic() - begun


def _epochs(
    advance: Callable[[TrainState, Any, int], tuple[TrainState, dict]],
    state: TrainState,
    step: int,
    chunks: Iterator[DeviceBatches],
    per_epoch: int,
    note: Callable[[int, int, dict], None],
) -> Iterator[tuple[int, TrainState]]:
    """Runs the steps that the chunks hold, and gives the step and the state at every epoch's end.

    `note` is told of each call's updates: the steps before it, how many it made, their metrics. It
    reads them while the device works on the next call.
    """
    running: tuple = ()
    for count, chunk in chunks:
        state, metrics = advance(state, chunk, count)
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
        f"{phase.name}: {what}; the last good checkpoint is of step {checkpoints.step() or 0}. "
        f"Lower the phase's learning rate of {phase.learning_rate:g}; starting again with it "
        "repeats this phase alone"
    )


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
