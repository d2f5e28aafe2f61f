"""One of the processes of runtime/test_distributed.py: worker.py RENDERED FOLDER PORT PROCESS.

It trains a run in FOLDER/run, takes ten steps of FGSAM and writes what came of them.
"""

import os
import pickle
import sys
from pathlib import Path

DEVICES = 2
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace("count=4", f"count={DEVICES}")


def main(rendered: str, folder: str, port: str, process: str) -> None:
    """Joins the other process first; JAX must not be asked for a device before."""
    from fgsam_jax.runtime import distributed

    distributed.join(f"127.0.0.1:{port}", 2, int(process))
    import steps
    import tiny

    from fgsam_jax.config import Log
    from fgsam_jax.data import resident
    from fgsam_jax.experiments.run import run_once

    resident._free = lambda: 2**30  # as an accelerator says: the run takes its images from there
    config = tiny.config(Path(rendered), (tiny.BASE,), references=True, log=Log(every=1))
    results = run_once(config, Path(folder) / "run", training=True)[2:]  # after the references
    taken = {name: steps.ten_steps(name, DEVICES) for name in steps.SEVERAL}
    with open(f"{folder}/process{process}.pkl", "wb") as file:
        pickle.dump((results, taken), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
