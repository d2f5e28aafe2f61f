"""Train or evaluate: `python -m fgsam_jax.main --config configs/demo.py`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from fgsam_jax.config import Config, check
from fgsam_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; by default runs/<name of the config file>."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train, or restore and evaluate every phase."
)


def main(arguments: Sequence[str]) -> None:
    """What the flags ask for. Raises InputError for what the user can mend."""
    if arguments[1:]:
        raise InputError(f"unknown argument {arguments[1]!r}: flags begin with --")
    config: Config = _CONFIG.value
    check(config)
    # JAX and Orbax are imported late: a mistaken flag is answered at once.
    from fgsam_jax.log import keep_freed_memory
    from fgsam_jax.runs import run_all

    logging.set_verbosity(logging.ERROR)
    keep_freed_memory()
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or Path("runs") / Path(name).stem).expanduser()
    run_all(config, workdir, training=_MODE.value == "train")


def _parse(arguments: Sequence[str]) -> Sequence[str]:
    """absl's parser; what ml_collections raises about the configuration becomes an InputError."""
    try:
        rest = app.parse_flags_with_usage(list(arguments))
        _ = _CONFIG.value.phases  # a file that could not be loaded is only told of here
        return rest
    except (OSError, LookupError, AttributeError, TypeError, ValueError) as error:
        reason = str(error.args[-1] if isinstance(error, KeyError) else error).splitlines()[-1]
        raise InputError(f"the configuration cannot be read: {reason.strip()}") from error


def run() -> None:
    """The command line: a user's mistake ends in one line and exit status 1 or 2."""
    flags.mark_flag_as_required("config")
    try:
        app.run(main, flags_parser=_parse)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    run()
