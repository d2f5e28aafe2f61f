"""The flags of a configuration, which commands share, and the file that they name."""

import runpy
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from absl import app, flags
from ml_collections import config_flags

from fgsam_jax import options
from fgsam_jax.config import Config, check
from fgsam_jax.errors import InputError
from fgsam_jax.runtime.entry import one_line
from fgsam_jax.runtime.files import expanded, regular_file

_LONGEST = 2**20  # bytes of a configuration file

# An override is read by the plain type of its field; `check` refuses what is out of its bounds.
_PARSERS = {int: flags.IntegerParser(), float: flags.FloatParser(), str: flags.ArgumentParser()}
config_flags.register_flag_parser_for_type(Literal, _PARSERS[str])
for _kind in vars(options).values():
    if get_origin(_kind) is Annotated:
        config_flags.register_flag_parser_for_type(_kind, _PARSERS[get_args(_kind)[0]])


class _File(flags.ArgumentParser):
    """Runs a configuration file; what goes wrong there is told with its line."""

    def parse(self, path: str) -> Config:
        name, *argument = path.split(":", 1)
        file = str(regular_file(expanded(name), limit=_LONGEST))
        try:
            content = runpy.run_path(file)
            config = content["get_config"](*argument) if "get_config" in content else None
        except Exception as error:
            reason = getattr(error, "msg", error)  # without the place, where it is of a syntax
            raise InputError(f"{_place(error, file)}: {type(error).__name__}: {reason}") from error
        if not isinstance(config, Config):
            raise InputError(
                f"{file} needs a function get_config that returns a Config of fgsam_jax.config, "
                f"got {config!r}"
            )
        return config


def _place(error: Exception, file: str) -> str:
    """The file, and its line where the error came through it."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno or 1)
    return f"{file}, line {lines[-1]}" if lines else file


CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
flags.FLAGS[CONFIG.name].parser = _File()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; by default runs/<name of the config file>."
)


def configuration() -> tuple[Config, Path]:
    """The configuration that the flags give and the run's folder. Raises InputError."""
    config: Config = CONFIG.value
    check(config)
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return config, expanded(WORKDIR.value or Path("runs") / Path(name).stem)


def parse(arguments: Sequence[str]) -> Sequence[str]:
    """absl's parser; what it and ml_collections refuse becomes an InputError."""
    try:
        rest = flags.FLAGS(list(arguments))
    except Exception as error:  # of any kind: a path of an override is Python's syntax
        if isinstance(error.__context__, InputError):  # absl has put the flag before its message
            raise error.__context__ from None
        reason = error.args[-1] if isinstance(error, KeyError) else error
        about = "" if isinstance(error, flags.Error) else "the configuration cannot be read: "
        raise InputError(f"{about}{reason}") from error
    if rest[1:]:
        raise InputError(f"unknown argument {rest[1]!r}: flags begin with --")
    return rest


def launch(main: Callable[[Sequence[str]], None]) -> None:
    """A command line: a user's mistake ends in one line and exit status 1."""
    flags.mark_flag_as_required("config")
    with one_line():
        app.run(main, flags_parser=parse)
