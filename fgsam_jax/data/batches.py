"""The batches of a phase, and how they come to the devices."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fgsam_jax.config import Compute, Phase
from fgsam_jax.data.resident import placed, placed_beside
from fgsam_jax.data.sampler import IdentitySampler, shuffled_rows
from fgsam_jax.data.table import Table
from fgsam_jax.errors import InputError
from fgsam_jax.runtime.ahead import made_ahead

if TYPE_CHECKING:
    from fgsam_jax.data.datasets.builder import LocalBuilder


# How many batches, and the batches; see `Batches.device_batches`.
DeviceBatches = tuple[int, Any]


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

    def device_batches(
        self, first: int, last: int, length: int = 1, *, rows: bool = False
    ) -> Iterator[DeviceBatches]:
        """The batches number first, ..., last - 1, several in one call of the device.

        The next is gathered while the device works. None goes over the end of an epoch.

        Args:
          first, last: steps.
          length: the most batches in one call.
          rows: give their rows alone, for columns that the device holds.

        Returns:
          For each call how many batches, and them in leaves [devices, length, share of a device,
          ...]; what is lacking at the end of an epoch is filled up with the last.
        """

        def gather(call: tuple[int, int]) -> DeviceBatches:
            begin, count = call
            steps = [begin + min(index, count - 1) for index in range(length)]
            chosen = np.stack([self.rows(step) for step in steps], axis=1)
            return count, chosen if rows else self._take(chosen)

        return made_ahead(gather, calls(first, last, length, self.per_epoch))


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

    def device_batches(self, first: int, last: int, length: int = 1) -> Iterator[DeviceBatches]:
        """As `Batches.device_batches`."""
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


def device_batches(
    batches: Batches | StreamedBatches,
    first: int,
    last: int,
    compute: Compute,
    lower: Callable[[dict[str, Any], Any, int], jax.stages.Lowered],
) -> tuple[dict[str, Any], Iterator[DeviceBatches]]:
    """What `parallel_train_steps` is given for the steps first, ..., last - 1.

    Args:
      batches: of the phase, whose state is on the devices already.
      first, last: steps.
      compute: how the devices work.
      lower: columns, feed and count to the program that a call with them runs.

    Returns:
      The columns that stay on the devices, empty where batches are sent instead, and the batches.
    """
    length = compute.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    length = min(length, batches.per_epoch)
    if not isinstance(batches, Batches):
        return {}, batches.device_batches(first, last, length)
    columns: dict[str, Any] = {}
    if compute.resident == "yes":
        columns = placed(batches.columns)
    if compute.resident == "auto":
        rows = np.stack([batches.rows(first)] * length, axis=1)
        columns = placed_beside(batches.columns, lambda found: lower(found, rows, length))
    return columns, batches.device_batches(first, last, length, rows=bool(columns))
