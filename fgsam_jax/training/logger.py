"""What a run writes while it trains: a progress bar, JSON lines and TensorBoard events."""

import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fgsam_jax.runtime.output import say, write_atomically


class PhaseLog:
    """The log of one phase, written by the first process.

    `workdir/log.jsonl` gets a line for every few steps and one for each epoch, with every loss
    and metric; TensorBoard gets the same under `workdir/tensorboard/<phase>`.
    """

    def __init__(
        self, workdir: Path, phase: str, *, first: int, last: int, per_epoch: int, every: int
    ):
        """Steps `first` to `last` follow; lines of later steps, from a run cut off, are dropped."""
        self._phase, self._every, self._per_epoch = phase, every, per_epoch
        self._path = workdir / "log.jsonl"
        _forget_after(self._path, phase, first)
        self._file = self._path.open("a")
        self._events, self._first = str(workdir / "tensorboard" / phase), first
        # Where the output is not a terminal there is no bar, only the summary lines.
        self._bar = tqdm(
            total=last, initial=first, desc=phase, unit="step", leave=False, disable=None
        )
        self._epoch: list[dict[str, float]] = []
        self._started = time.monotonic()

    @functools.cached_property
    def _board(self) -> Any:
        # It imports PyTorch where that is installed, which takes longer than the first step.
        from tensorboardX import SummaryWriter

        return SummaryWriter(self._events, purge_step=self._first, write_to_disk=True)

    def step(self, step: int, metrics: dict[str, float], learning_rate: float, images: int) -> None:
        """Note the metrics of a finished step, numbered from 1."""
        self._epoch.append(metrics)
        self._bar.update()
        if step % self._every == 0:
            values = {**metrics, "learning_rate": learning_rate}
            self._write({"phase": self._phase, "step": step, **values})
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._bar.set_postfix(loss=f"{metrics['total']:.3f}")
        if step % self._per_epoch == 0:
            self._summary(step, learning_rate, images)

    def _summary(self, step: int, learning_rate: float, images: int) -> None:
        seconds = time.monotonic() - self._started
        means = {name: float(np.mean([m[name] for m in self._epoch])) for name in self._epoch[0]}
        rate = len(self._epoch) * images / seconds
        epoch = step // self._per_epoch
        self._write({"phase": self._phase, "epoch": epoch, "step": step, "mean": means})
        shown = [f"{name} {value:.3f}" for name, value in grouped(means).items()]
        say(
            f"{self._phase} epoch {epoch}: {', '.join(shown)}; "
            f"learning rate {learning_rate:.2g}, {rate:.0f} images/s"
        )
        self._epoch = []
        self._started = time.monotonic()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._file.close()
        if "_board" in vars(self):
            self._board.close()


def grouped(metrics: dict[str, float]) -> dict[str, float]:
    """Terms that differ only behind a slash, averaged: one figure for all attributes, say."""
    groups: dict[str, list[float]] = {}
    for name, value in metrics.items():
        groups.setdefault(name.split("/")[0], []).append(value)
    return {name: float(np.mean(values)) for name, values in groups.items()}


def _forget_after(path: Path, phase: str, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut short when the run was killed
        if record["phase"] != phase or record["step"] <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))
