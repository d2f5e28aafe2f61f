"""A run of a configuration from its data to its tables, or several runs with other seeds."""

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fgsam_jax.config import Config, Data, Init, PoseData, Synthetic
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.phases import reference_rows, restored_results
from fgsam_jax.experiments import tables
from fgsam_jax.experiments.report.build import REPORT, build_report
from fgsam_jax.metrics.protocol import UNKNOWN_CAMERA, is_person
from fgsam_jax.models.factory import check_backbone
from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.files import expanded
from fgsam_jax.runtime.lock import sole_run
from fgsam_jax.runtime.machine import machine
from fgsam_jax.runtime.output import disk_errors_in_one_line, say, write_atomically
from fgsam_jax.training.initialize import phase_info
from fgsam_jax.training.loop import REMEDY, train
from fgsam_jax.version import versions
from fgsam_jax.visualization.results import keep_pictures

Section = TypeVar("Section", Data, PoseData, Init, Synthetic)


def run_experiment(config: Config, workdir: Path, *, training: bool) -> None:
    """Train or evaluate `config.repeats` times; several runs end in a table of their spread.

    Run number i has the seeds raised by i and the folder `workdir/seed<seed>`; a single run has
    workdir itself.

    Raises:
      InputError: something given cannot be used; the message says what.
    """
    with disk_errors_in_one_line(workdir):
        _run_all(config, workdir, training=training)


def _run_all(config: Config, workdir: Path, *, training: bool) -> None:
    runs = []
    for number, (one, folder) in enumerate(each_run(config, workdir), 1):
        if config.repeats > 1:
            say(f"\nrun {number} of {config.repeats}, in {folder}")
        if not training and config.repeats > 1 and not (folder / "results.json").is_file():
            say("not finished")
            continue
        rows = run_once(one, folder, training=training)
        if rows and config.repeats > 1:
            runs.append(rows)
    # A run that was stopped has fewer rows, and takes no part in the spread.
    runs = [rows for rows in runs if len(rows) == max(map(len, runs))]
    if runs:
        written = _write_table(workdir, config, training, runs=runs)
        say(f"\nMean and standard deviation of {len(runs)} runs:\n{tables.spread_table(runs)}")
        if training and len(runs) > 1:
            written.append(_write_report(workdir))
        if written:
            say("\nwrote " + ", ".join(map(str, written)))


def each_run(config: Config, workdir: Path) -> list[tuple[Config, Path]]:
    """The configuration and the folder of each of the `config.repeats` runs, paths filled in."""
    if config.repeats == 1:
        return [(expand(config, workdir), workdir)]
    runs = []
    for number in range(config.repeats):
        seed = config.seed + number
        data = dataclasses.replace(config.data, split_seed=config.data.split_seed + number)
        one = dataclasses.replace(config, seed=seed, data=data, repeats=1)
        folder = workdir / f"seed{seed}"
        runs.append((expand(one, folder), folder))
    return runs


def expand(config: Config, workdir: Path) -> Config:
    """Put the run's folder in place of `{workdir}` in the paths."""
    return dataclasses.replace(
        config,
        data=_filled(config.data, workdir),
        pose_data=_filled(config.pose_data, workdir),
        init=_filled(config.init, workdir),
        synthetic=_filled(config.synthetic, workdir),
    )


def _filled(section: Section, workdir: Path) -> Section:
    texts: dict[str, Any] = {
        name: value.replace("{workdir}", str(workdir))
        for name, value in vars(section).items()
        if isinstance(value, str)
    }
    return dataclasses.replace(section, **texts)


def run_once(config: Config, workdir: Path, *, training: bool) -> list[dict]:
    """One run: its rows of results, those of the references first. It prints and writes them."""
    if not training and not (workdir / "checkpoints").is_dir():
        raise InputError(f"{workdir} holds no checkpoint: train first, or name the --workdir")
    check_backbone(config.model.backbone)
    with sole_run(workdir) if training else nullcontext():
        return _run_once(config, workdir, training=training)


def _run_once(config: Config, workdir: Path, *, training: bool) -> list[dict]:
    if config.synthetic.folder:
        render_set(config)
    datasets = Datasets(config)
    distributed.check_alike(lambda: datasets.digests(training=training))
    results = (train if training else restored_results)(config, workdir, datasets)
    rows = [result for result in results if "evaluation" in result]
    if not rows:
        return rows  # a run of the pose phase alone
    if config.references:
        last = [phase for phase in config.phases if phase.model != "pose"][-1]
        rows = reference_rows(phase_info(config, last, datasets), datasets) + rows
    try:
        report = tables.report(rows)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{workdir / 'results.json'} is damaged: {error!r}. {REMEDY}") from None
    about = {"about": _about(datasets)} if training else {}
    written = _write_table(workdir, config, training, rows=rows, **about)
    say("\n" + report)
    if training:
        if config.log.pictures:
            lists = rows[-1]["evaluation"].get("lists", [])  # earlier versions left none
            written.append(keep_pictures(workdir, datasets, lists, config.restore))
        written.append(_write_report(workdir))
    if written:
        say("\nwrote " + ", ".join(map(str, written)))
    return rows


def _write_report(workdir: Path) -> Path:
    """The report of what the run has left; of several processes the first writes."""
    path = workdir / REPORT
    if distributed.first():
        write_atomically(path, build_report([workdir]))
    return path


def _about(datasets: Datasets) -> dict[str, Any]:
    """What made a run's numbers beside its configuration, as plain values for JSON."""
    tables = {split: datasets.table(split) for split in ("train", "query", "gallery")}
    splits = {
        split: {
            "images": len(table),
            "identities": len(np.unique(table.identities[is_person(table.identities)])),
            "cameras": len(np.unique(table.cameras[table.cameras > UNKNOWN_CAMERA])),
        }
        for split, table in tables.items()
    }
    classes = tables["train"].classes
    return {"versions": versions(), "machine": machine(), "splits": splits, "classes": classes}


def _write_table(workdir: Path, config: Config, training: bool, **content: Any) -> list[Path]:
    """Keep rows or runs beside the configuration; an evaluation may lack the right to write."""
    path = workdir / ("table.json" if training else "evaluation.json")
    text = json.dumps({"config": dataclasses.asdict(config), **content}, indent=1)
    try:
        write_atomically(path, text)
    except OSError as error:
        if training:
            raise
        say(f"{path} was not written: {error.strerror}")
        return []
    return [path]


def render_set(config: Config) -> None:
    """Write the synthetic set of the configuration, once; of several processes the others wait."""
    from tqdm import tqdm

    from fgsam_jax.data.synthetic.render import render

    arguments = dataclasses.asdict(config.synthetic)
    folder = arguments.pop("folder")
    with (
        disk_errors_in_one_line(Path(folder)),
        tqdm(desc="rendering", unit="picture", leave=False, disable=None) as bar,
    ):

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        render(expanded(folder), progress=show, **arguments)
