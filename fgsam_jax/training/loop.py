"""The phases in order: start a state, run the steps, log, save, evaluate, hand over."""

import gc
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from fgsam_jax.checkpoint import Checkpoints, checkpoint_folder, restore
from fgsam_jax.config import Config
from fgsam_jax.data.batches import DeviceBatches, device_batches
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import evaluate_phase, renewed_results
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.distributed import AXIS, replicate
from fgsam_jax.runtime.files import read_json
from fgsam_jax.runtime.output import say, write_atomically
from fgsam_jax.training.initialize import first_state, phase_info
from fgsam_jax.training.logger import PhaseLog
from fgsam_jax.training.optim import frozen_steps, make_optimizer, schedule
from fgsam_jax.training.preflight import changed_phases, check_phases, record_config
from fgsam_jax.training.state import save_state
from fgsam_jax.training.step import Metrics, is_finite, parallel_train_steps
from fgsam_jax.training.update import make_update

_RESULTS = "results.json"
_SCORES = {"evaluation", "pose"}  # of `evaluate_phase`
REMEDY = "Remove it: the same command evaluates the finished phases again"


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
    results = _finished(path)
    changed = changed_phases(config, workdir, results)
    check_phases(config, workdir, datasets, results, changed)
    record_config(config, workdir, changed)
    if (renewed := renewed_results(config, workdir, datasets, results)) != results:
        results = renewed
        write_atomically(path, json.dumps(results, indent=1))
    for index, phase in enumerate(config.phases):
        if phase.name in results:
            say(f"{phase.name}: finished before, {results[phase.name]['headline']}")
            continue
        seconds = _PhaseTraining(config, workdir, index, datasets).run()
        gc.collect()  # cycles would hold device memory: `startup.tune` lets Python look rarely
        # What is reported is what the checkpoint gives back.
        info, variables, _ = restore(workdir, phase.name, config.restore, exact=True)
        result = evaluate_phase(info, variables, datasets) | {"seconds": seconds}
        say(f"{phase.name}: {result['headline']} after {seconds:.0f} s")
        results[phase.name] = result
        write_atomically(path, json.dumps(results, indent=1))
    return list(results.values())


def _finished(path: Path) -> dict[str, dict]:
    """What the finished phases of a run scored."""
    if not path.exists():
        return {}
    try:
        results = read_json(path)
        for name, result in results.items():
            if not isinstance(result["headline"], str) or not result.keys() & _SCORES:
                raise InputError(f"{path}: {name} has no headline or no scores")
    except InputError as error:
        raise InputError(f"{error}. {REMEDY}") from None
    except (TypeError, LookupError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}. {REMEDY}") from None
    return results


class _PhaseTraining:
    """One phase: its data, its state and its compiled update, brought to the last step."""

    def __init__(self, config: Config, workdir: Path, index: int, datasets: Datasets):
        self._config, self._datasets, self._phase = config, datasets, config.phases[index]
        phase, seed = self._phase, 1000 * config.seed + index
        self._batches = datasets.batches(
            phase,
            seed=seed,
            devices=jax.local_device_count(),
            process=jax.process_index(),
            processes=jax.process_count(),
        )
        per_epoch = self._batches.per_epoch
        self._last = per_epoch * phase.epochs
        self._info = phase_info(config, phase, datasets)
        folder = checkpoint_folder(workdir, phase.name)
        self._checkpoints = Checkpoints(folder, keep=config.log.keep, create=True)
        optimizer = make_optimizer(phase, per_epoch)
        state, seconds = first_state(
            self._checkpoints, self._info, workdir, optimizer, seed, phase, self._last, datasets
        )
        begins = f"the state that {phase.name} begins with"
        distributed.check_alike(lambda: {begins: distributed.digest(jax.device_get(state))})
        self._state, self._key = replicate(state), replicate(jax.random.key(seed))
        model = self._info.model(axis_name=AXIS)
        self._updates = {
            freeze: parallel_train_steps(
                make_update(config, phase, model, optimizer, freeze_backbone=freeze)
            )
            for freeze in (False, True)
        }
        self._first = int(state.step)
        self._rate, self._log = schedule(phase, per_epoch), self._open_log(workdir)
        self._begun = time.monotonic() - seconds

    def _open_log(self, workdir: Path) -> PhaseLog | None:
        if not distributed.first():
            return None
        return PhaseLog(
            workdir,
            self._phase.name,
            first=self._first,
            last=self._last,
            per_epoch=self._batches.per_epoch,
            every=self._config.log.every,
        )

    def run(self) -> float:
        """Train to the last step; returns the seconds spent, in all runs together."""
        try:
            columns, chunks = device_batches(
                self._batches, self._first, self._last, self._config.compute, self._lower
            )
            for step in self._epochs(columns, chunks):
                self._finish_epoch(step)
            distributed.agreed(self._checkpoints.wait)
        finally:
            try:
                self._checkpoints.wait()
            finally:
                if self._log:
                    self._log.close()
        return time.monotonic() - self._begun

    def _lower(self, columns: Any, chunk: Any, count: int) -> jax.stages.Lowered:
        return self._updates[False].lower(self._state, columns, chunk, count, self._key)

    def _epochs(self, columns: dict[str, Any], chunks: Iterator[DeviceBatches]) -> Iterator[int]:
        """Make the updates of the chunks; gives the step at every epoch's end.

        The metrics of a call are read while the device works on the next.
        """
        step, running = self._first, None
        frozen = frozen_steps(self._phase, self._batches.per_epoch)
        for count, chunk in chunks:
            update = self._updates[step < frozen]  # calls end where epochs do
            self._state, metrics = update(self._state, columns, chunk, count, self._key)
            if running:
                self._note(*running)
            running = step, count, metrics
            step += count
            if step % self._batches.per_epoch == 0:
                self._note(*running)
                running = None
                yield step

    def _note(self, before: int, count: int, metrics: Metrics) -> None:
        """Log the updates of one call, `count` after the step `before`."""
        history = jax.device_get(metrics)
        for place in range(count):
            values = {name: float(value[place]) for name, value in history.items()}
            done = before + place + 1
            if not math.isfinite(values["total"]):
                raise self._no_number(f"the loss is {values['total']} at step {done}")
            if self._log:
                self._log.step(done, values, float(self._rate(done - 1)), self._phase.batch)

    def _finish_epoch(self, step: int) -> None:
        """Evaluate and save where an epoch's end asks for it."""
        if not is_finite(self._state):
            raise self._no_number(f"the weights after step {step} are no numbers")
        log, epoch = self._config.log, step // self._batches.per_epoch
        scored = None
        if log.evaluate_every and (epoch % log.evaluate_every == 0 or step == self._last):
            variables = self._state.averaged().variables()
            result = evaluate_phase(self._info, variables, self._datasets)
            say(f"{self._phase.name} epoch {epoch}: {result['headline']}")
            scored = result.get("map")
        if scored is not None or epoch % log.save_every == 0 or step == self._last:
            spent = {"seconds": time.monotonic() - self._begun}
            save_state(self._checkpoints, self._state, self._info.to_dict() | spent, scored)

    def _no_number(self, what: str) -> InputError:
        return InputError(
            f"{self._phase.name}: {what}; the last good checkpoint is of step "
            f"{self._checkpoints.step() or 0}. Lower the phase's learning rate of "
            f"{self._phase.learning_rate:g}; starting again with it repeats this phase alone"
        )
