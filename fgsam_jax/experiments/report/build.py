"""A report, or a comparison, of what runs have left in their folders."""

from collections.abc import Sequence
from pathlib import Path

from fgsam_jax.errors import InputError
from fgsam_jax.experiments.report.comparison import compared
from fgsam_jax.experiments.report.files import read_runs
from fgsam_jax.experiments.report.single import reported

REPORT = "report.html"


def build_report(folders: Sequence[Path]) -> str:
    """The report of a run, or a comparison of several: one file of HTML without script, in ASCII.

    Neither the data sets nor JAX are needed.

    Args:
      folders: of finished runs; that of a run with `config.repeats` stands for all of them.

    Raises:
      InputError: a folder holds no finished run, or what it holds is damaged.

    Example:
      >>> page = build_report([Path("runs/demo")])  # doctest: +SKIP
    """
    try:
        runs = [run for folder in folders for run in read_runs(folder)]
        return reported(runs[0]) if len(runs) == 1 else compared(runs)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        names = ", ".join(map(str, folders))
        raise InputError(f"what {names} holds of a run is damaged: {error!r}") from None
