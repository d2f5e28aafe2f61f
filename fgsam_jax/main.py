"""Train or evaluate: `python -m fgsam_jax.main --config configs/demo.py`."""

import os
import sys
from collections.abc import Sequence

from absl import flags, logging

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import cli, startup

_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train, or restore and evaluate every phase."
)

_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several processes the first one's address, host:port."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
_DISTRIBUTED = flags.DEFINE_boolean(
    "distributed", False, "Find the other processes by SLURM, Kubernetes or a TPU pod."
)


def main(arguments: Sequence[str]) -> None:
    """What the flags ask for. Raises InputError for what the user can mend."""
    del arguments
    config, workdir = cli.configuration()
    others = _several_processes()
    startup.tune()
    # JAX and Orbax are imported late: a mistaken flag is answered at once.
    from fgsam_jax.experiments.run import run_experiment
    from fgsam_jax.runtime import distributed

    logging.set_verbosity(logging.FATAL)  # what Orbax logs as an error it raises too
    if others:
        distributed.join(*others)
    try:
        run_experiment(config, workdir, training=_MODE.value == "train")
    except KeyboardInterrupt:
        if not others:
            raise
        # JAX would wait for the other processes, which wait for this one.
        print(cli.INTERRUPTED, file=sys.stderr, flush=True)
        os._exit(130)


def _several_processes() -> tuple[str | None, int | None, int | None] | None:
    """What `distributed.join` wants to know, or None for a process alone. Raises InputError."""
    given = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    if _COORDINATOR.value and not _COORDINATOR.value.rpartition(":")[2].isdigit():
        raise InputError(f"--coordinator is host:port, got {_COORDINATOR.value!r}")
    if _DISTRIBUTED.value or all(x is not None for x in given):
        return given
    if any(x is not None for x in given):
        raise InputError("several processes need --coordinator, --num_processes and --process_id")
    return None


if __name__ == "__main__":
    cli.launch(main)
