"""What a run writes while it trains: a progress bar, JSON lines and TensorBoard events."""

import ctypes
import functools
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fgsam_jax import processes


class PhaseLog:
    """The log of one phase, written by the first process.

    `workdir/log.jsonl` gets a line for every few steps and one for each epoch, with every loss
    and sign; TensorBoard gets the same under `workdir/tensorboard/<phase>`.
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


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system.

    XLA's CPU buffers come and go with every step; getting their pages anew took a quarter of the
    baseline's step (0.256 s against 0.187 s, one run each, other work beside).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(mmap_threshold, 2**31 - 1)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**28)


def keep_programs() -> None:
    """Keep compiled programs between runs, unless JAX_COMPILATION_CACHE_DIR says where already."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path("~/.cache/fgsam_jax/programs").expanduser() / _processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _processor() -> str:
    """A short name for what the processor can do: a program may not run on another kind.

    Homes are often shared by the machines of a cluster.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def say(text: str) -> None:
    """Print a line without breaking a progress bar; of several processes the first prints."""
    if processes.first():
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


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


def write_atomically(path: Path, text: str) -> None:
    """A run killed while it writes leaves the old file. Of several processes the first writes."""
    if not processes.first():
        return
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(text)
    scratch.replace(path)
