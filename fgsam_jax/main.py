"""Train or evaluate: `python -m fgsam_jax.main --config configs/demo.py`."""

from collections.abc import Sequence

from absl import flags, logging

from fgsam_jax.config import told
from fgsam_jax.errors import InputError
from fgsam_jax.runtime import cli, startup

_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train, or restore and evaluate every phase."
)

_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several processes the first one's address, host:port."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "How many processes train together.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0.", lower_bound=0
)
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
        command = {"--mode": _MODE.value, "--workdir": str(workdir), **told(config)}
        distributed.check_alike(lambda: command)
    run_experiment(config, workdir, training=_MODE.value == "train")


def _several_processes() -> tuple[str | None, int | None, int | None] | None:
    """What `distributed.join` wants to know, or None for a process alone. Raises InputError."""
    given = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    if _COORDINATOR.value is not None:
        host, _, port = _COORDINATOR.value.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise InputError(
                f"--coordinator is host:port with a port of 1 to 65535, got {_COORDINATOR.value!r}"
            )
    if _DISTRIBUTED.value or all(x is not None for x in given):
        return given
    if any(x is not None for x in given):
        raise InputError("several processes need --coordinator, --num_processes and --process_id")
    return None


if __name__ == "__main__":
    cli.launch(main)
