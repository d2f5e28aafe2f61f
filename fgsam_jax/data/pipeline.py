"""The data sets, splits and batches that a configuration names."""

import functools
from typing import TYPE_CHECKING, Any

from fgsam_jax.config import Config, Phase
from fgsam_jax.data.batches import Batches, StreamedBatches
from fgsam_jax.data.datasets.catalogue import open_set
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.data.table import Table, load_table
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.runtime.files import expanded

if TYPE_CHECKING:
    from fgsam_jax.data.datasets.builder import LocalBuilder


def open_people(config: Config, *, write: bool = True) -> "LocalBuilder":
    """The images to re-identify; without `write` their records may be missing."""
    data = config.data
    return _open(config, data.name, data.source, write, attributes=data.attributes)


def open_pose(config: Config, *, write: bool = True) -> "LocalBuilder":
    """The images with joints; without `write` their records may be missing."""
    data = config.pose_data
    return _open(config, data.name, data.source, write, joints=data.joints)


def _open(config: Config, name: str, source: str, write: bool, **beside: str) -> "LocalBuilder":
    given: dict[str, Any] = {k: expanded(path) for k, path in beside.items() if path}
    given["outside"] = config.data.outside
    return open_set(name, expanded(source), expanded(config.data.records), write=write, **given)


class Datasets:
    """The splits of a run, each opened when first asked for."""

    def __init__(self, config: Config):
        self._config, self._data, self._pose_data = config, config.data, config.pose_data
        self.table, self.pose = functools.cache(self._table), functools.cache(self._pose_table)

    def _table(self, split: str) -> Table:
        """A split of the images to re-identify: "train", "query" or "gallery"."""
        data = self._data
        return load_table(self._builder, split, data.height, data.width, seed=data.split_seed)

    def _pose_table(self, split: str) -> Table:
        """A split of the images with joints: "train" or "val".

        The joints of a re-identification set are judged on its queries, of other people.
        """
        splits = self._pose_builder.info.splits
        split = "query" if split == "val" and "val" not in splits else split
        size, seed = self._pose_size, self._data.split_seed
        return load_table(self._pose_builder, split, *size, seed=seed)

    @property
    def drawn(self) -> bool:
        """Whether the splits are drawn by `config.data.split_seed`."""
        return set(self._builder.info.splits) == {WHOLE}

    def batches(self, phase: Phase, *, seed: int, **share: int) -> "Batches | StreamedBatches":
        """The training batches of a phase, see `Batches` for the rest and for what is refused."""
        if phase.model != "pose":
            return Batches(phase, self.table("train"), seed=seed, **share)
        split = self._pose_data.split
        if not self.pose_streams:
            return Batches(phase, self.pose(split), seed=seed, **share)
        return StreamedBatches(
            phase, self._pose_builder, split, *self._pose_size, seed=seed, **share
        )

    @property
    def pose_streams(self) -> bool:
        """Whether the images that the pose net learns from are decoded while it does."""
        return self._pose_data.stream or self._pose_builder.VIEWS_DIFFER

    @property
    def pose_digest(self) -> str:
        """A short name for what the pose net learns from."""
        split = self._pose_data.split
        if not self.pose_streams:
            return self.pose(split).digest
        builder = self._pose_builder
        return f"{builder.name} {split} of {builder.builder_config.name}"

    def test_digest(self, model: str) -> str:
        """A short name for what a model of a kind is judged on."""
        if model == "pose":
            return self.pose("val").digest
        return f"{self.table('query').digest} {self.table('gallery').digest}"

    def digests(self, *, training: bool) -> dict[str, str]:
        """Short names for what a run is judged on and, in training, learns from, by what it is."""
        models = {phase.model for phase in self._config.phases}
        splits = ("query", "gallery", *(["train"] if training else []))
        people = splits if models != {"pose"} else ()
        found = {f"config.data ({split})": self.table(split).digest for split in people}
        if training and "pose" in models:
            found["config.pose_data"] = self.pose_digest
        return found

    @property
    def _pose_size(self) -> tuple[int, int]:
        pose, data = self._pose_data, self._data
        return pose.height or data.height, pose.width or data.width

    @functools.cached_property
    def _builder(self) -> "LocalBuilder":
        return open_people(self._config)

    @functools.cached_property
    def _pose_builder(self) -> "LocalBuilder":
        return open_pose(self._config)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes with at least one labelled training image; the others get no head."""
        table = self.table("train")
        return tuple(kind for kind in table.kinds if (table.attributes[kind.name] >= 0).any())

    @property
    def identities(self) -> int:
        """Number of people in the training split."""
        return int(self.table("train").labels.max()) + 1
