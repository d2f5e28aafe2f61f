"""What a run writes while it trains: a progress bar, JSON lines and TensorBoard events."""

import contextlib
import functools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fgsam_jax.runtime.files import read_bytes
from fgsam_jax.runtime.output import say, write_atomically


class PhaseLog:
    """The log of one phase, written by the first process.

    `workdir/log.jsonl` gets a line for every few steps and one for each epoch, with every loss
    and metric, and one for each evaluation; TensorBoard gets the same under
    `workdir/tensorboard/<phase>`.
    """

    def __init__(
        self, workdir: Path, phase: str, *, first: int, last: int, per_epoch: int, every: int
    ):
        """Steps `first` to `last` follow; lines of later steps, from a run cut off, are dropped."""
        self._phase, self._every, self._per_epoch = phase, every, per_epoch
        self._path = workdir / "log.jsonl"
        _forget_after(self._path, phase, first)
        self._file = self._path.open("a")
        self._board = _Board(workdir / "tensorboard" / phase, first)
        # Where the output is not a terminal there is no bar, only the summary lines.
        self._bar = tqdm(
            total=last, initial=first, desc=phase, unit="step", leave=False, disable=None
        )
        self._epoch: list[dict[str, float]] = []
        self._started = time.monotonic()

    def step(self, step: int, metrics: dict[str, float], learning_rate: float, images: int) -> None:
        """Note the metrics of a finished step, numbered from 1."""
        self._epoch.append(metrics)
        self._bar.update()
        if step % self._every == 0:
            values = {**metrics, "learning_rate": learning_rate}
            self._write({"phase": self._phase, "step": step, **values})
            self._board.add(step, values)
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
        self._board.flush()
        self._epoch = []
        self._started = time.monotonic()

    def scores(self, step: int, values: dict[str, float]) -> None:
        """Note an evaluation after a step, at an epoch's end."""
        epoch = step // self._per_epoch
        self._write({"phase": self._phase, "epoch": epoch, "step": step, "scores": values})
        self._board.add(step, values)

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush and close everything."""
        with contextlib.ExitStack() as stack:  # a full disk ends none of the three early
            for each in (self._bar, self._file, self._board):
                stack.callback(each.close)


def grouped(metrics: dict[str, float]) -> dict[str, float]:
    """Terms that differ only behind a slash, averaged: one figure for all attributes, say."""
    groups: dict[str, list[float]] = {}
    for name, value in metrics.items():
        groups.setdefault(name.split("/")[0], []).append(value)
    return {name: float(np.mean(values)) for name, values in groups.items()}


class _Board:
    """TensorBoard's events of a phase, written by no other thread: it would end unnoticed."""

    def __init__(self, folder: Path, first: int):
        """Events of steps after `first`, of a run that was cut off, are shown no more."""
        self._folder, self._first = folder, first

    @functools.cached_property
    def _writer(self) -> Any:
        # It imports PyTorch where that is installed, which takes longer than the first step.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(self._folder / "events"))
        start = SessionLog(status=SessionLog.START)
        writer.write_event(Event(wall_time=time.time(), step=self._first + 1, session_log=start))
        return writer

    def add(self, step: int, values: dict[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
            self._writer.write_event(event)

    def flush(self) -> None:
        if "_writer" in vars(self):
            self._writer.flush()

    def close(self) -> None:
        if "_writer" in vars(self):
            self._writer.close()


def _forget_after(path: Path, phase: str, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in read_bytes(path).decode(errors="replace").splitlines():
        try:
            record = json.loads(line)
            if record["phase"] != phase or record["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, TypeError, LookupError, RecursionError):
            continue  # cut short when the run was killed, or damaged
    write_atomically(path, "".join(kept))
