"""The splits that a configuration names, and the batches of a phase."""

import functools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fgsam_jax.config import Config, Phase
from fgsam_jax.data import Table, load_table, open_set
from fgsam_jax.data.attributes import Attribute
from fgsam_jax.data.protocol import WHOLE
from fgsam_jax.data.sampler import IdentitySampler, shuffled_rows
from fgsam_jax.errors import InputError

if TYPE_CHECKING:
    from fgsam_jax.data.records import LocalBuilder

# How many batches, and the batches; see `Batches.feeds`.
Feed = tuple[int, Any]


def open_people(config: Config, *, write: bool = True) -> "LocalBuilder":
    """The images to re-identify; without `write` their records may be missing."""
    data = config.data
    return _open(config, data.name, data.source, write, attributes=data.attributes)


def open_pose(config: Config, *, write: bool = True) -> "LocalBuilder":
    """The images with joints; without `write` their records may be missing."""
    data = config.pose_data
    return _open(config, data.name, data.source, write, joints=data.joints)


def _open(config: Config, name: str, source: str, write: bool, **beside: str) -> "LocalBuilder":
    given: dict[str, Any] = {k: Path(path).expanduser() for k, path in beside.items() if path}
    records = Path(config.data.records).expanduser()
    return open_set(name, Path(source).expanduser(), records, write=write, **given)


class Sets:
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
        return f"{builder.name} {split} of {builder.info.splits[split].num_examples}"

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


class Batches:
    """The batches of a phase, by step: the same step always gives the same batch.

    Attributes:
      per_epoch: steps of an epoch, images // batch.
      columns: what a batch is gathered from, by name; rows are images.
    """

    def __init__(
        self,
        phase: Phase,
        table: Table,
        *,
        seed: int,
        devices: int,
        process: int = 0,
        processes: int = 1,
    ):
        """Take a phase's batches from a table.

        Args:
          phase: its batch size and its P x K, if any.
          table: of the training split; junk and distractors are never drawn.
          seed: of the order.
          devices: of this process, over which its share of a batch is spread.
          process, processes: this process takes its part of every batch, and gathers no other.

        Raises:
          InputError: the batch does not fit the devices, the images or the identities.
        """
        _check_devices(phase, devices * processes)
        self._phase, self._seed, self._devices = phase, seed, devices
        share = phase.batch // processes
        self._mine = slice(process * share, (process + 1) * share)
        self.columns: dict[str, Any] = {"image": table.images}
        self._rows = np.arange(len(table))
        if phase.model == "pose":
            if table.joints is None:
                raise InputError(
                    f"{phase.name}: the pose net learns from joints, this set has none"
                )
            self.columns |= {"joints": table.joints, "mask": table.mask}
            # A crop without known joints would teach nothing.
            self._rows = np.flatnonzero((table.joints[..., 2] >= 0).any((1, 2)))
        else:
            attributes = {name: x.astype(np.int32) for name, x in table.attributes.items()}
            labels = table.labels
            self.columns |= {"label": labels, "attributes": attributes}
            self._rows = np.flatnonzero(labels >= 0)
        if len(self._rows) < phase.batch:
            raise InputError(
                f"{phase.name}: a batch of {phase.batch} needs as many images, "
                f"the training split has {len(self._rows)}"
            )
        self.per_epoch = len(self._rows) // phase.batch
        self._sampler = None
        if phase.images_per_identity:
            people = phase.batch // phase.images_per_identity
            self._sampler = IdentitySampler(table.labels, people, phase.images_per_identity)

    def rows(self, step: int) -> np.ndarray:
        """This process's rows of batch number `step`, from 0: [devices, share of a device]."""
        if self._sampler:
            rows = self._sampler.rows(seed=self._seed, step=step)
        else:
            order = shuffled_rows(len(self._rows), self._phase.batch, seed=self._seed, step=step)
            rows = self._rows[order]
        return rows[self._mine].reshape(self._devices, -1)

    def __call__(self, step: int) -> dict[str, Any]:
        """Batch number `step`, from 0; leaves [devices, share of a device, ...]."""
        return self._take(self.rows(step))

    def _take(self, rows: np.ndarray) -> dict[str, Any]:
        return jax.tree.map(lambda column: np.asarray(column[rows]), self.columns)

    def feeds(
        self, first: int, last: int, length: int = 1, *, rows: bool = False
    ) -> Iterator[Feed]:
        """The batches number first, ..., last - 1, several in one call of the device.

        The next is gathered while the device works. No feed goes over the end of an epoch.

        Args:
          first, last: steps.
          length: the most batches in one feed.
          rows: give their rows alone, for columns that the device holds.

        Yields:
          How many batches, and them in leaves [devices, length, share of a device, ...]; what is
          lacking at the end of an epoch is filled up with the last.
        """

        def gather(begin: int, count: int) -> Feed:
            steps = [begin + min(index, count - 1) for index in range(length)]
            chosen = np.stack([self.rows(step) for step in steps], axis=1)
            return count, chosen if rows else self._take(chosen)

        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[Feed]] = deque()
            for begin, count in calls(first, last, length, self.per_epoch):
                waiting.append(pool.submit(gather, begin, count))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


class StreamedBatches:
    """`Batches` of a set with joints that is decoded while the device works."""

    def __init__(
        self,
        phase: Phase,
        builder: "LocalBuilder",
        split: str,
        height: int,
        width: int,
        *,
        seed: int,
        devices: int,
        process: int = 0,
        processes: int = 1,
    ):
        """As `Batches` and `fgsam_jax.data.stream.Stream`."""
        from fgsam_jax.data.stream import Stream

        _check_devices(phase, devices * processes)
        self._stream = Stream(
            builder,
            split,
            height,
            width,
            phase.batch,
            seed=seed,
            process=process,
            processes=processes,
        )
        self._devices, self.per_epoch = devices, self._stream.per_epoch

    def __call__(self, step: int) -> dict[str, Any]:
        """Batch number `step`, from 0; leaves [devices, share of a device, ...]."""
        return jax.tree.map(self._spread, self._stream(step))

    def feeds(self, first: int, last: int, length: int = 1) -> Iterator[Feed]:
        """As `Batches.feeds`."""
        made = self._stream.batches(first, last)
        for _, count in calls(first, last, length, self.per_epoch):
            batches = [jax.tree.map(self._spread, next(made)) for _ in range(count)]
            batches += [batches[-1]] * (length - count)
            yield count, jax.tree.map(lambda *x: np.stack(x, axis=1), *batches)

    def _spread(self, column: np.ndarray) -> np.ndarray:
        return column.reshape(self._devices, -1, *column.shape[1:])


def calls(first: int, last: int, length: int, per_epoch: int) -> Iterator[tuple[int, int]]:
    """Steps first, ..., last - 1 as (begin, count), cut where an epoch ends."""
    while first < last:
        count = min(length, last - first, per_epoch - first % per_epoch)
        yield first, count
        first += count


def _check_devices(phase: Phase, devices: int) -> None:
    if phase.batch % (devices * phase.accumulate):
        pieces = f" in {phase.accumulate} pieces" if phase.accumulate > 1 else ""
        raise InputError(
            f"{phase.name}: a batch of {phase.batch} cannot be spread over {devices} devices"
            + pieces
        )
