"""The runs of a named experiment: each a process of its own, resumable by itself."""

import dataclasses
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from fgsam_jax.config import Config, to_dict
from fgsam_jax.errors import InputError, printable
from fgsam_jax.experiments.run import expand
from fgsam_jax.experiments.studies.catalogue import STUDIES
from fgsam_jax.experiments.studies.rows import Row
from fgsam_jax.runtime.files import read_json, read_text
from fgsam_jax.runtime.output import say, write_atomically

_TABLE, _MEASURED = "table.json", "measured.json"


@dataclass(frozen=True)
class Run:
    """One run: a configuration with a seed.

    Attributes:
      name: <run>/seed<seed>, as `--run` takes it.
      seed: of the configuration.
      config: with its paths filled in.
      folder: root/<experiment>/<name>.
    """

    name: str
    seed: int
    config: Config
    folder: Path

    @property
    def log(self) -> Path:
        """What its process has printed."""
        return self.folder.with_suffix(".log")


@dataclass(frozen=True)
class Experiment:
    """A named experiment on a base configuration.

    Attributes:
      name: one of `STUDIES`.
      rows: of its table.
      runs: {(run of a row, seed): the run}, all runs of the first seed in front.
      root: of all experiments that share data and phases.
    """

    name: str
    rows: list[Row]
    runs: dict[tuple[str, int], Run]
    root: Path

    @property
    def folder(self) -> Path:
        """For the runs and the tables of this experiment."""
        return self.root / self.name


def planned(name: str, base: Config, root: Path, *, seeds: int, small: bool) -> Experiment:
    """All runs of an experiment.

    Rendered pictures and records go to the root, once for all runs.

    Args:
      name: one of `STUDIES`.
      base: the configuration that the rows change; its seeds are raised by 0, 1, ...
      root: gets the folders of experiments.
      seeds: how many.
      small: whether few values are enough, see `catalogue`.
    """
    log = dataclasses.replace(base.log, pictures=base.log.pictures and not small)
    base = dataclasses.replace(expand(base, root), repeats=1, references=False, log=log)
    rows = STUDIES[name].rows(base, small)
    runs = {}
    for seed in range(base.seed, base.seed + seeds):
        for row in rows:
            data = dataclasses.replace(
                row.config.data, split_seed=base.data.split_seed + seed - base.seed
            )
            config = dataclasses.replace(row.config, seed=seed, data=data)
            run = f"{row.run}/seed{seed}"
            runs[row.run, seed] = Run(run, seed, config, root / name / run)
    return Experiment(name, rows, runs, root)


def carry_out(experiment: Experiment, name: str) -> None:
    """Do one run in this process, with what other runs have finished of its phases.

    Raises:
      InputError: there is no such run, or the run ends in an error.
    """
    from fgsam_jax.experiments.run import run_experiment
    from fgsam_jax.experiments.studies.sharing import adopt

    run = next((run for run in experiment.runs.values() if run.name == name), None)
    if run is None:
        names = ", ".join(run.name for run in experiment.runs.values())
        raise InputError(f"--run is one of {printable(names, 2000)}; got {name!r}")
    run.folder.mkdir(parents=True, exist_ok=True)
    # A run that was left behind by its killed command is waited for.
    with FileLock(run.folder.with_suffix(".lock")):
        adopt(run.config, run.folder, experiment.root)
        run_experiment(run.config, run.folder, training=True)
        measure = STUDIES[experiment.name].measure
        if measure and not (run.folder / _MEASURED).exists():
            say("measuring")
            found = json.dumps(measure(run.config, run.folder))
            write_atomically(run.folder / _MEASURED, found)


def is_finished(experiment: Experiment, run: Run) -> bool:
    """Whether a run with this very configuration has ended."""
    try:
        kept = read_json(run.folder / _TABLE)
    except InputError:
        return False
    measured = not STUDIES[experiment.name].measure or (run.folder / _MEASURED).exists()
    return measured and kept["config"] == json.loads(json.dumps(to_dict(run.config)))


def carry_out_all(experiment: Experiment, command: Sequence[str]) -> None:
    """Do all unfinished runs, one after the other; a failed one does not stop the others.

    Args:
      experiment: whose runs.
      command: to which --run and the run's name are added.
    """
    for number, run in enumerate(experiment.runs.values(), 1):
        which = f"run {number} of {len(experiment.runs)}, {run.name}"
        if is_finished(experiment, run):
            say(f"{which}: finished before")
            continue
        say(f"{which}: see {run.log}")
        run.log.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with run.log.open("w") as log:
            ended = subprocess.run(
                [*command, "--run", run.name], stdout=log, stderr=subprocess.STDOUT, check=False
            )
            if ended.returncode < 0:
                log.write(f"\nended by signal {-ended.returncode}\n")
        last = f"failed, {last_line(run)}" if ended.returncode else "finished"
        say(f"{which}: {last} after {time.monotonic() - begun:.0f} s")


def result(row: Row, run: Run) -> dict[str, Any]:
    """What a run scored for a row, as `tables.spread_cells` takes it.

    Raises:
      InputError: it has not come so far, or its folder holds another configuration's run.
    """
    from fgsam_jax.training.kept_config import changed_phases

    found = _read(run.folder / "results.json")
    if row.phase in changed_phases(run.config, run.folder, found) or row.phase not in found:
        raise InputError(last_line(run) or "not begun")
    measured = {"": {}, **_read(run.folder / _MEASURED)}
    if row.measured not in measured:
        raise InputError(last_line(run) or "not measured")
    return {"beside": {}, **found[row.phase], **measured[row.measured], "title": row.title}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return read_json(path) if path.exists() else {}


def last_line(run: Run) -> str:
    """The last line that a run has printed; empty where it has no log."""
    if not run.log.is_file():
        return ""
    lines = [line for line in read_text(run.log).splitlines() if line.strip()]
    return printable(lines[-1], 300) if lines else ""
