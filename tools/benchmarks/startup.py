"""Seconds until the first step is done, with nothing compiled before and with everything."""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, Row, configuration
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.experiments.run import render_set


def startup(options: argparse.Namespace) -> list[Row]:
    """Processes that import, and processes that train the demo up to their first step.

    The demo's set is rendered, recorded and decoded beforehand; every run has a folder of its own
    and is ended after its first step. "of_empty" is how many times longer the first start took,
    "cpu" are seconds of all cores.
    """
    rounds = 1 if options.quick else 3
    rows = []
    for what, code in {
        "import fgsam_jax": "import fgsam_jax",
        "import jax": "import jax; jax.devices()",
        "import all of training": "import fgsam_jax.experiments.run",
    }.items():
        rows.append(_row(what, [_timed(partial(_import, code)) for _ in range(rounds)]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arguments = _prepare(folder)
        empty: list[tuple[float, float]] = []
        filled: list[tuple[float, float]] = []
        for number in range(rounds):
            cache = folder / f"programs{number}"
            for kind, times in (("empty", empty), ("filled", filled)):
                run = partial(_first_step, folder / f"{kind}{number}", cache, arguments)
                times.append(_timed(run))
    rows.append(_row("first step, nothing compiled", empty))
    rows.append(_row("first step, all compiled", filled))
    ratios = np.median(np.array(empty) / filled, axis=0)
    rows[-1] |= {"of_empty": ratios[0], "of_empty_cpu": ratios[1]}
    return rows


def _row(what: str, times: list[tuple[float, float]]) -> Row:
    wall, cpu = np.array(times).T
    low, middle, high = np.quantile(wall, [0.25, 0.5, 0.75])
    row = {"section": "startup", "what": what, "median": middle, "spread": high - low}
    return row | {"rounds": len(times), "cpu": np.median(cpu)}


def _timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds that a subprocess took, and seconds of all cores."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _import(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def _prepare(folder: Path) -> list[str]:
    """Renders and decodes the demo's set; returns the flags that make a run use it."""
    config = configuration("demo")
    made = str(folder / "set")
    few = {"train_identities": 20, "test_identities": 6, "pose_images": 64, "pose_val_images": 8}
    config.synthetic = replace(config.synthetic, folder=made, **few)
    render_set(config)
    config.data.source, config.data.records = f"{made}/market1501", str(folder / "records")
    config.pose_data.source = f"{made}/coco"
    datasets = Datasets(config)
    for split in ("train", "query", "gallery"):
        datasets.table(split)
    for split in ("train", "val"):
        datasets.pose(split)
    return [
        f"--config.data.source={config.data.source}",
        f"--config.data.records={config.data.records}",
        f"--config.pose_data.source={config.pose_data.source}",
        "--config.synthetic.folder=",
        "--config.log.every=1",
    ]


def _first_step(workdir: Path, cache: Path, arguments: list[str]) -> None:
    """Runs a process to the first line of its log."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    command = [sys.executable, "-m", "fgsam_jax.main", "--config", "configs/demo.py"]
    log, output = workdir / "log.jsonl", workdir.with_suffix(".txt")
    with (
        output.open("w") as file,
        subprocess.Popen(
            [*command, f"--workdir={workdir}", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while not (log.exists() and log.stat().st_size):
                if process.poll() is not None:
                    raise RuntimeError(f"the run ended early: {output.read_text()[-1000:]}")
                time.sleep(0.01)
        finally:
            process.terminate()
