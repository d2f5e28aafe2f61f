"""Kills a tiny run at random moments until it has ended often enough: python tools/kill_campaign.py

Every run goes from rendering to the pictures and is started again after each kill. In the end its
parameters, results, table, log and pictures must be those of a run that nothing disturbed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

CONFIG = """
from fgsam_jax.config import Config, Data, Log, Model, Phase, PoseData, Synthetic

def get_config():
    sizes = dict(backbone="resnet10", width=8, stem="small", last_stride=1, pose_width=0.0625)
    start = dict(batch=8, epochs=2)
    return Config(
        data=Data(source="{workdir}/set/market1501", records="{workdir}/records", height=32,
                  width=16),
        pose_data=PoseData(source="{workdir}/set/coco", sigma=6.0),
        synthetic=Synthetic(
            folder="{workdir}/set", train_identities=4, test_identities=4, images_per_identity=4,
            cameras=2, distractors=1, junk=1, pose_images=8, pose_val_images=2, height=32,
            width=16),
        model=Model(pose_kernel=3, sketch=64, part_size=8, plenary_size=16, **sizes),
        phases=(
            Phase("pose", "Pose", "pose", **start),
            Phase("base", "Base", "baseline", **start),
            Phase("both", "Both", "intermediate", start_from=("pose", "base"), **start),
            Phase("full", "Full", "fgsam", start_from=("both",), triplet="focal",
                  images_per_identity=4, **start),
        ),
        evaluation_batch=16, references=True, log=Log(every=1),
    )
"""


class Campaign:
    """A folder with the undisturbed run and the one that is killed."""

    def __init__(self, folder: Path):
        self._config = folder / "tiny.py"
        self._config.write_text(CONFIG)
        self._programs = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # to compile quickly
        }

    def run(self, workdir: Path, seconds: float | None = None) -> bool:
        """Start a run, or go on with it; whether it ended before it was killed."""
        command = [sys.executable, "-m", "fgsam_jax.main", "--config", str(self._config)]
        command += ["--workdir", str(workdir)]
        environment = {**os.environ, **self._programs}
        printed = workdir.with_suffix(".txt")
        with printed.open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                code = process.wait()
        if code not in (0, -signal.SIGKILL):
            sys.exit(f"a run ended with status {code}:\n{printed.read_text()[-3000:]}")
        return code == 0


def outcome(workdir: Path) -> dict[str, Any]:
    """All that a run leaves which must not depend on when it was killed."""
    import jax
    import numpy as np

    from fgsam_jax.checkpoint import restore

    results = json.loads((workdir / "results.json").read_text())
    rows = json.loads((workdir / "table.json").read_text())["rows"]
    for row in (*results.values(), *rows):
        for spent in ("seconds", "memory"):
            row.pop(spent, None)
    found = {"results": results, "table": rows, "log": (workdir / "log.jsonl").read_text()}
    for phase in results:
        leaves = jax.tree_util.tree_leaves_with_path(restore(workdir, phase)[1])
        found[phase] = [(jax.tree_util.keystr(p), np.asarray(x).tobytes()) for p, x in leaves]
    found["pictures"] = (workdir / "pictures.json").read_text()
    return found


def timed(campaign: Campaign, workdir: Path) -> float:
    """Seconds of a run that nothing disturbs."""
    begun = time.monotonic()
    campaign.run(workdir)
    return time.monotonic() - begun


def killed(campaign: Campaign, workdir: Path, seconds: float, expected: dict) -> tuple[int, str]:
    """Kill a run until it ends: how often, and what of it is not as expected."""
    chance, kills = random.Random(workdir.name), 0
    while not campaign.run(workdir, chance.uniform(0.2, 0.9) * seconds):
        kills, seconds = kills + 1, 1.1 * seconds  # it ends, however busy the machine has become
    found = outcome(workdir)
    shutil.rmtree(workdir)
    return kills, ", ".join(name for name in expected if found.get(name) != expected[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills"))
    campaign = Campaign(folder)
    campaign.run(folder / "compiled")
    kills, runs, equal = 0, 0, 0
    seconds = timed(campaign, folder / "whole")
    print(f"an undisturbed run takes {seconds:.1f} s", flush=True)
    expected = outcome(folder / "whole")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        while kills < arguments.kills:
            names = [folder / f"run{runs + job}" for job in range(arguments.jobs)]
            done = list(
                pool.map(killed, repeat(campaign), names, repeat(seconds), repeat(expected))
            )
            if not any(number for number, _ in done):  # the machine has become quicker
                seconds = timed(campaign, folder / f"timed{runs}")
            for number, other in done:
                kills, runs, equal = kills + number, runs + 1, equal + (not other)
                print(f"{kills} kills, run {runs}: {other or 'equal'}", flush=True)
    print(f"{equal} of {runs} runs killed {kills} times are equal to the undisturbed one")
    shutil.rmtree(folder)
    sys.exit(equal < runs)


if __name__ == "__main__":
    main()
