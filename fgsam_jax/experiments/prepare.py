"""The data sets of a configuration, checked and made ready before training."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from fgsam_jax.config import Config
from fgsam_jax.data import Table, checks, pipeline
from fgsam_jax.data.checks import File, Problem
from fgsam_jax.data.datasets.crops import CropsBuilder
from fgsam_jax.data.pipeline import Datasets, open_pose
from fgsam_jax.errors import InputError
from fgsam_jax.experiments import dataset_summary
from fgsam_jax.runtime.output import say
from fgsam_jax.visualization import dataset


def open_people(config: Config, *, write: bool) -> CropsBuilder:
    """The images to re-identify; InputError for a set that knows no people."""
    builder = pipeline.open_people(config, write=write)
    if not isinstance(builder, CropsBuilder):
        raise InputError(
            f"{builder.TITLE} has no identities: name a re-identification set in config.data.name"
        )
    return builder


class Preparation:
    """Says what is in every set that a phase uses, and builds it if all its files are usable.

    Attributes:
      problems: all that is wrong, the fatal ones first.
      sheets: a sheet of pictures for each set that could be built.
    """

    def __init__(self, config: Config):
        self._config, self._datasets = config, Datasets(config)
        self._files: dict[Path, File] = {}
        self.problems: list[Problem] = []
        self.sheets: list[Image.Image] = []
        models = {phase.model for phase in config.phases}
        if models != {"pose"}:
            self._prepare(self._people, f"Images to re-identify: {config.data.name}")
        if "pose" in models:
            self._prepare(self._pose, f"Images with joints: {config.pose_data.name}")
        self.problems.sort(key=lambda problem: not problem.fatal)

    def _prepare(self, one: Callable[[], None], title: str) -> None:
        """What ends the work on one set is a problem too, and leaves the other set to be done."""
        say(f"\n{title}\n")
        try:
            one()
        except InputError as error:
            self.problems.append(Problem(str(error), fatal=True))

    def _people(self) -> None:
        config, builder = self._config, open_people(self._config, write=False)
        crops = builder.crops()
        paths = [crop.path for split in crops.values() for crop in split]
        self.problems += checks.passed_over(builder.roots(builder.builder_config.source), {*paths})
        usable = self._inspect(paths)
        if not config.synthetic.folder:  # that borrows a set's layout and not its numbers
            self.problems += checks.check_published(crops, builder.PUBLISHED)
        splits = checks.drawn_splits(crops, config.data.split_seed)
        if splits is not crops:
            say(dataset_summary.drawn_text(crops, config.data.split_seed))
        say(dataset_summary.people_text(splits, self._files, builder.attributes()))
        self.problems += checks.check_crops(splits, self._files)
        if usable:
            _timed("records", lambda: open_people(config, write=True))
            tables = self._load("table", "train", "query", "gallery")
            self.sheets.append(dataset.people_sheet(*tables))
            self._check_batches(pose=False)

    def _pose(self) -> None:
        config, data = self._config, self._config.pose_data
        builder = open_pose(config, write=False)
        if "joints" not in builder.info.features:
            raise InputError(f"{builder.TITLE} has no joints: give config.pose_data.joints")
        images = builder.images()
        if not self._inspect(path for split in images.values() for path in split):
            return
        _timed("records", lambda: open_pose(config))
        # What is streamed has no table of its training images.
        splits = ("val",) if self._datasets.pose_streams else (data.split, "val")
        tables = self._load("pose", *splits)
        for split, table in zip(splits, tables, strict=True):
            assert table.joints is not None
            assert table.mask is not None
            say(dataset_summary.joint_text(table.joints, table.mask, split))
            height, width = table.images.shape[1:3]
            self.problems += checks.check_joints(table.joints, height, width, split)
        self.sheets.append(dataset.pose_sheet(tables[0]))
        self._check_batches(pose=True)

    def _inspect(self, paths: Iterable[Path]) -> bool:
        """Looks at the files that were not seen yet; whether all can be used."""
        paths = list(dict.fromkeys(paths))
        new = [path for path in paths if path not in self._files]
        with tqdm(
            total=len(new), desc="checking", unit=" images", leave=False, disable=None
        ) as bar:
            self._files |= checks.inspect_all(new, bar.update)
        found = checks.unusable_images({path: self._files[path] for path in paths})
        self.problems += found
        return not found

    def _load(self, kind: str, *splits: str) -> list[Table]:
        """The tables of some splits, as training opens them, and again as its next start will."""

        def opened(datasets: Datasets, split: str, title: str) -> Table:
            return _timed(title, lambda: getattr(datasets, kind)(split))

        tables = [opened(self._datasets, split, f"decoding {split}") for split in splits]
        opened(Datasets(self._config), splits[0], f"{splits[0]} once more, now that it is stored")
        return tables

    def _check_batches(self, *, pose: bool) -> None:
        """Whether the phases can draw their batches."""
        for phase in self._config.phases:
            try:
                if (phase.model == "pose") == pose:
                    self._datasets.batches(phase, seed=0, devices=1)
            except InputError as error:
                self.problems.append(Problem(str(error), fatal=True))


def _timed(what: str, work: Callable[[], Any]) -> Any:
    """The result of some work, after a line on how long it took."""
    started = time.monotonic()
    result = work()
    say(f"{what}: {time.monotonic() - started:.1f} s")
    return result
