"""Runs in processes of their own that are killed."""

import json
import os
import signal
import subprocess
import sys
import time

from fgsam_jax.config import to_dict

SCRIPT = """
import json, sys
from pathlib import Path
from fgsam_jax.config import from_dict
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.training.loop import train
config = from_dict(json.loads(Path(sys.argv[1]).read_text()))
train(config, Path(sys.argv[2]), Datasets(config))
"""


def kill(config, workdir, script, is_time):
    """A run in a process of its own, killed when its log says that it is time."""
    given, log = workdir.with_suffix(".json"), workdir / "log.jsonl"
    given.write_text(json.dumps(to_dict(config)))
    with workdir.with_suffix(".out").open("w+") as out:
        command = [sys.executable, "-c", script, str(given), str(workdir)]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)
        while process.poll() is None and not (log.exists() and is_time(log.read_text())):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        out.seek(0)
        assert process.wait() in (-signal.SIGKILL, 0), out.read()
