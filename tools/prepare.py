"""Check the data sets of a configuration and make them ready, before hours of training.

    python tools/prepare.py --config configs/market.py [--config.data.source=...] [--sheet all.png]
    python tools/prepare.py --config configs/market.py --limit 500 --to small.csv
    python tools/prepare.py --config configs/market.py --held_out 100 --to held_out.csv

The first describes the data sets that the phases use, reports every problem it finds in them, draws
a contact sheet, and leaves records and tables so that training starts at once. It exits with status
1 if a problem would spoil a training (see `fgsam_jax.data.checks`).

The second lists a small part of the images to re-identify, of whole people, for trials.

The third lists the training split alone, with a test set made of so many of its people: choose
settings on it, and look at the published query and gallery once, at the end. With --limit it keeps
about so many images of the other people to train on, with --identities so many of these people.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from fgsam_jax.config import Config
from fgsam_jax.errors import InputError
from fgsam_jax.runtime import cli
from fgsam_jax.runtime.files import expanded

_SHEET = flags.DEFINE_string("sheet", "prepare.png", "Where the contact sheet goes; empty: none.")
_LIMIT = flags.DEFINE_integer("limit", None, "List about so many training images.", lower_bound=1)
_HELD_OUT = flags.DEFINE_integer(
    "held_out", None, "List train with a test set of so many of its people.", lower_bound=1
)
_IDENTITIES = flags.DEFINE_integer(
    "identities", None, "Train on so many of the people that --held_out leaves.", lower_bound=1
)
_TO = flags.DEFINE_string("to", "subset.csv", "The list that --limit and --held_out write.")


def main(arguments: Sequence[str]) -> None:
    """What the flags ask for. Raises InputError for what the user can mend."""
    del arguments
    config, workdir = cli.configuration()
    # JAX and TFDS are imported late: a mistaken flag is answered at once.
    from fgsam_jax.experiments.run import each_run, render_set

    logging.set_verbosity(logging.ERROR)
    runs = each_run(config, workdir)
    first = runs[0][0]
    if len(runs) > 1:
        print(f"{len(runs)} runs: the first of them is prepared")
    if first.synthetic.folder:
        render_set(first)
    if _IDENTITIES.value and not _HELD_OUT.value:
        raise InputError("--identities limits what --held_out leaves to train on: give both")
    if _LIMIT.value or _HELD_OUT.value:
        write_list(first, _LIMIT.value, _HELD_OUT.value, _IDENTITIES.value, expanded(_TO.value))
    else:
        prepare(first, expanded(_SHEET.value) if _SHEET.value else None)


def prepare(config: Config, sheet: Path | None) -> None:
    """Check, build and show. Raises InputError at the end if something would spoil a training."""
    from fgsam_jax.experiments import dataset_summary
    from fgsam_jax.experiments.prepare import Preparation
    from fgsam_jax.visualization import draw

    done = Preparation(config)
    if sheet and done.sheets:
        try:
            draw.stacked(*done.sheets).save(sheet, "png")
        except OSError as error:
            raise InputError(f"{sheet} cannot be written: {error.strerror}") from error
        print(f"\nwrote {sheet}")
    for problem in done.problems:
        print(f"\n{dataset_summary.problem_text(problem)}")
    fatal = sum(problem.fatal for problem in done.problems)
    if fatal:
        raise InputError(f"problems that would spoil a training, listed above: {fatal}")
    print("\nready for training")


def write_list(
    config: Config,
    images: int | None,
    held_out: int | None,
    people: int | None,
    path: Path,
) -> None:
    """Write other splits and say how to train on them."""
    from fgsam_jax.data.checks import drawn_splits
    from fgsam_jax.data.subset import draw_subset, hold_out, write_csv
    from fgsam_jax.experiments.prepare import open_people

    if all(phase.model == "pose" for phase in config.phases):
        name = "--held_out" if held_out else "--limit"
        raise InputError(f"{name} takes people of config.data, which no phase of this file uses")
    builder = open_people(config, write=False)
    splits = drawn_splits(builder.crops(), config.data.split_seed)
    if held_out:
        subset = hold_out(splits, held_out, config.seed, images, people)
    elif images:
        subset = draw_subset(splits, images, config.seed)
    write_csv(path, subset, builder.attributes())
    counts = ", ".join(f"{split} {len(crops):,}" for split, crops in subset.items())
    print(f"wrote {path}: {counts}. To train on it:")
    given = flags.FLAGS["config"]
    ours = {"data.name": "folder", "data.source": path, "data.attributes": ""}
    ours |= {"data.outside": True}  # the list names images where they lie
    fields = {**config_flags.get_override_values(given), **ours}
    name = config_flags.get_config_filename(given)
    shown = [f"--config.{field}={value}" for field, value in fields.items()]
    workdir = f"--workdir=runs/{path.stem}"
    print(shlex.join(["python", "-m", "fgsam_jax.main", f"--config={name}", workdir, *shown]))


if __name__ == "__main__":
    cli.launch(main)
