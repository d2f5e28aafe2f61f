"""Seconds until the first step is done, with nothing compiled before and with everything."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, Row, configuration
from fgsam_jax.runs import render_set
from fgsam_jax.sets import Sets


def startup(options: argparse.Namespace) -> list[Row]:
    """Processes that import, and processes that train the demo up to their first step.

    The demo's set is rendered, recorded and decoded beforehand; every run has a folder of its own
    and is ended after its first step. "of_empty" is how many times longer the first start took.
    """
    rounds = 1 if options.quick else 3
    rows = []
    for what, code in {
        "import fgsam_jax": "import fgsam_jax",
        "import jax": "import jax; jax.devices()",
        "import all of training": "import fgsam_jax.runs",
    }.items():
        times = [_imported(code) for _ in range(rounds + 1)][1:]
        rows.append(_row(what, times))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arguments = _prepare(folder)
        empty, filled = [], []
        for number in range(rounds):
            cache = folder / f"programs{number}"
            empty.append(_first_step(folder / f"empty{number}", cache, arguments))
            filled.append(_first_step(folder / f"filled{number}", cache, arguments))
    rows.append(_row("first step, nothing compiled", empty))
    rows.append(_row("first step, all compiled", filled))
    rows[-1]["of_empty"] = float(np.median(np.array(empty) / filled))
    return rows


def _row(what: str, times: list[float]) -> Row:
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    row = {"section": "startup", "what": what, "median": middle, "spread": high - low}
    return row | {"rounds": len(times)}


def _imported(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return time.perf_counter() - begun


def _prepare(folder: Path) -> list[str]:
    """Renders and decodes the demo's set; returns the flags that make a run use it."""
    config = configuration("demo")
    made = str(folder / "set")
    config.synthetic = replace(config.synthetic, folder=made)
    render_set(config)
    config.data.source, config.data.records = f"{made}/market1501", str(folder / "records")
    config.pose_data.source = f"{made}/coco"
    sets = Sets(config)
    for split in ("train", "query", "gallery"):
        sets.table(split)
    for split in ("train", "val"):
        sets.pose(split)
    return [
        f"--config.data.source={config.data.source}",
        f"--config.data.records={config.data.records}",
        f"--config.pose_data.source={config.pose_data.source}",
        "--config.synthetic.folder=",
        "--config.log.every=1",
    ]


def _first_step(workdir: Path, cache: Path, arguments: list[str]) -> float:
    """Seconds from the start of a process to the first line of its log."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    command = [sys.executable, "-m", "fgsam_jax.main", "--config", "configs/demo.py"]
    log, output = workdir / "log.jsonl", workdir.with_suffix(".txt")
    begun = time.perf_counter()
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
            return time.perf_counter() - begun
        finally:
            process.terminate()
