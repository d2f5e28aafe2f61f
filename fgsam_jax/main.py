"""Train or evaluate: `python -m fgsam_jax.main --config configs/demo.py`."""

from collections.abc import Sequence

from absl import flags, logging

from fgsam_jax import command

_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train, or restore and evaluate every phase."
)


def main(arguments: Sequence[str]) -> None:
    """What the flags ask for. Raises InputError for what the user can mend."""
    del arguments
    config, workdir = command.configuration()
    # JAX and Orbax are imported late: a mistaken flag is answered at once.
    from fgsam_jax import processes
    from fgsam_jax.log import keep_freed_memory, keep_programs
    from fgsam_jax.runs import run_all

    logging.set_verbosity(logging.ERROR)
    keep_freed_memory()
    keep_programs()
    if others := command.several_processes():
        processes.join(*others)
    run_all(config, workdir, training=_MODE.value == "train")


def run() -> None:
    """The command line."""
    command.run(main)


if __name__ == "__main__":
    run()
