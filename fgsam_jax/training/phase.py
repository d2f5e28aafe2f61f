"""One phase: start a state, run the steps, log, save, evaluate."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from fgsam_jax.checkpoint import Checkpoints, checkpoint_folder
from fgsam_jax.config import Config, Phase
from fgsam_jax.data.batches import DeviceBatches, device_batches
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import evaluate_phase
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.distributed import AXIS, replicate
from fgsam_jax.runtime.output import say
from fgsam_jax.training.initialize import first_state, phase_info
from fgsam_jax.training.logger import PhaseLog
from fgsam_jax.training.optim import frozen_steps, make_optimizer, schedule
from fgsam_jax.training.state import save_state
from fgsam_jax.training.step import Metrics, is_finite, parallel_train_steps
from fgsam_jax.training.update import make_update


def phase_seed(config: Config, phase: Phase) -> int:
    """The seed of a phase: `config.seed`, and how many phases lead to it.

    Phases that start from the same ones see the same batches, so that their scores compare; a phase
    does not see those of the phases before it again; and a place in the list does not count.
    """
    before = [other for other in config.phases if other.name in phase.start_from]
    return 1 + max((phase_seed(config, other) for other in before), default=1000 * config.seed - 1)


class PhaseTraining:
    """One phase: its data, its state and its compiled update, brought to the last step."""

    def __init__(self, config: Config, workdir: Path, phase: Phase, datasets: Datasets):
        self._config, self._datasets, self._phase = config, datasets, phase
        seed = phase_seed(config, phase)
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
            if self._log and scored is not None:
                rank_1 = result["evaluation"]["scores"]["cmc"][0]
                self._log.scores(step, {"rank-1": rank_1, "mAP": scored})
        if scored is not None or epoch % log.save_every == 0 or step == self._last:
            spent = {"seconds": time.monotonic() - self._begun}
            save_state(self._checkpoints, self._state, self._info.to_dict() | spent, scored)

    def _no_number(self, what: str) -> InputError:
        return InputError(
            f"{self._phase.name}: {what}; the last good checkpoint is of step "
            f"{self._checkpoints.step() or 0}. Lower the phase's learning rate of "
            f"{self._phase.learning_rate:g}; starting again with it repeats this phase alone"
        )
