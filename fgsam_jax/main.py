"""Train or evaluate: `python -m fgsam_jax.main --config configs/demo.py`."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from fgsam_jax.config import Config, check, expand
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
    # JAX and Orbax are imported late: a mistaken flag is answered at once.
    from fgsam_jax import report
    from fgsam_jax.evaluate import reference_rows, restored_results
    from fgsam_jax.gallery import draw
    from fgsam_jax.log import keep_freed_memory, say
    from fgsam_jax.sets import Sets
    from fgsam_jax.train import about_phase, train

    logging.set_verbosity(logging.ERROR)
    keep_freed_memory()
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or Path("runs") / Path(name).stem).expanduser()
    config: Config = expand(_CONFIG.value, workdir)
    check(config)
    training = _MODE.value == "train"
    if not training and not (workdir / "checkpoints").is_dir():
        raise InputError(f"{workdir} holds no checkpoint: train first, or name the --workdir")
    if config.synthetic.folder:
        _render(config)
    sets = Sets(config)
    results = (train if training else restored_results)(config, workdir, sets)
    rows = [result for result in results if "evaluation" in result]
    if not rows:
        return  # a run of the pose phase alone
    if config.references:
        last = [phase for phase in config.phases if phase.model != "pose"][-1]
        rows = reference_rows(about_phase(config, last, sets), sets) + rows
    say("\n" + report.tables(rows))
    path = workdir / ("table.json" if training else "evaluation.json")
    path.write_text(json.dumps({"config": dataclasses.asdict(config), "rows": rows}, indent=1))
    written = [path, *(draw(workdir, sets) if training and config.log.pictures else [])]
    say("\nwrote " + ", ".join(map(str, written)))


def _render(config: Config) -> None:
    """Write the synthetic set of the configuration, once."""
    from tqdm import tqdm

    from fgsam_jax.data.synthetic import render

    arguments = dataclasses.asdict(config.synthetic)
    folder = arguments.pop("folder")
    with tqdm(desc="rendering", unit="picture", leave=False, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        render(folder, progress=show, **arguments)


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
