"""What the commands share: the configuration's flags, and a user's mistake told in one line."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from absl import app, flags
from ml_collections import config_flags

from fgsam_jax.config import Config, check
from fgsam_jax.errors import InputError
from fgsam_jax.options import (
    Count,
    Eights,
    Natural,
    NonNegative,
    Positive,
    Probability,
    Seed,
    Share,
)

# An override is read by the plain type of its field; `check` refuses what is out of its bounds.
for _kinds, _parser in (
    ((Literal,), flags.ArgumentParser()),
    ((Count, Natural, Seed, Eights), flags.IntegerParser()),
    ((Positive, NonNegative, Share, Probability), flags.FloatParser()),
):
    for _kind in _kinds:
        config_flags.register_flag_parser_for_type(_kind, _parser)

CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; by default runs/<name of the config file>."
)
INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"


def configuration() -> tuple[Config, Path]:
    """The configuration that the flags give and the run's folder. Raises InputError."""
    config: Config = CONFIG.value
    check(config)
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return config, Path(WORKDIR.value or Path("runs") / Path(name).stem).expanduser()


def parse(arguments: Sequence[str]) -> Sequence[str]:
    """absl's parser; what ml_collections raises about the configuration becomes an InputError."""
    try:
        rest = app.parse_flags_with_usage(list(arguments))
        _ = CONFIG.value.phases  # a file that could not be loaded is only told of here
    except (OSError, LookupError, AttributeError, TypeError, ValueError) as error:
        reason = str(error.args[-1] if isinstance(error, KeyError) else error).splitlines()[-1]
        raise InputError(f"the configuration cannot be read: {reason.strip()}") from error
    if rest[1:]:
        raise InputError(f"unknown argument {rest[1]!r}: flags begin with --")
    return rest


def launch(main: Callable[[Sequence[str]], None]) -> None:
    """A command line: a user's mistake ends in one line and exit status 1 or 2."""
    flags.mark_flag_as_required("config")
    try:
        app.run(main, flags_parser=parse)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
