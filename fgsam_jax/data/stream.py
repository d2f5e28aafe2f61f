"""Batches of images with joints, decoded while the device works: for sets larger than a table.

Like `sampler`, a pure function of the seed and the step: there is no state to save.
"""

import functools
import os
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from fgsam_jax.data.datasets.builder import LocalBuilder, Records
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import STRIDE

# People of a training image, a fixed number so that every batch has one shape. Images of COCO
# with more labelled people are rare, and a crop shows a part of an image.
PEOPLE = 20
# A joint this many pixels outside still shows: its confidence map reaches 3 sigma = 21 pixels.
REACH = 24
# More threads would wait for Python's lock.
_MAX_THREADS = 16
_AHEAD = 2  # batches to keep ready

Batch = dict[str, np.ndarray]


class Stream:
    """An endless pass over shuffled epochs, one view of each example in an epoch.

    Attributes:
      per_epoch: steps of an epoch, examples // batch; the remainder of an epoch is left out of
        that epoch.
    """

    def __init__(
        self,
        builder: LocalBuilder,
        split: str,
        height: int,
        width: int,
        batch: int,
        *,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ):
        """Read batches from prepared records.

        Args:
          builder: of a set with joints, its records written, see `records.open_builder`.
          split: one of the builder's splits.
          height, width: of the images in pixels, divisible by 8.
          batch: examples of a step, of all processes together.
          seed: of the order and of the views; not negative.
          process, processes: of every batch, cut into so many parts, this process takes its own.

        Raises:
          InputError: no joints, no such split, an impossible size, fewer examples than a batch, or
            a batch that the processes cannot share evenly.
        """
        _check(builder, split, height, width, batch, processes)
        source = Records(builder, split)
        self.per_epoch = len(source) // batch
        self._share = batch // processes
        order, views = (int(x) for x in np.random.SeedSequence(seed).generate_state(2))
        view = functools.partial(_view, builder, height=height, width=width)
        # Views are drawn by the position in the stream, so before the stream is shared out.
        examples = grain.MapDataset.source(source).shuffle(seed=order).random_map(view, seed=views)
        self._examples = examples[: self.per_epoch * batch].repeat()
        if processes > 1:
            part = _Part(self._examples, batch, processes, process)
            self._examples = grain.MapDataset.source(part)

    def __call__(self, step: int) -> Batch:
        """This process's share of batch number `step`, from 0, made here and now.

        Returns:
          "image" uint8 [share, height, width, 3], "joints" float32 [share, 20, 18, 3] and "mask"
          float32 [share, height / 8, width / 8], as in `Table`.
        """
        examples = self._examples[step * self._share : (step + 1) * self._share]
        return examples.batch(self._share)[0]

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """What calling with first, ..., last - 1 gives, decoded ahead of time by threads."""
        threads = min(os.cpu_count() or 1, _MAX_THREADS)
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=max(_AHEAD * self._share, threads)
        )
        examples = self._examples[first * self._share : last * self._share]
        batches = iter(examples.to_iter_dataset(options).batch(self._share))
        try:
            yield from batches
        finally:
            # Whoever stops early leaves no thread behind.
            batches.close()


class _Part:
    """The examples of one process's part of every batch, one after the other."""

    def __init__(self, examples: grain.MapDataset, batch: int, processes: int, process: int):
        self._examples, self._batch = examples, batch
        self._share = batch // processes
        self._before = process * self._share

    def __len__(self) -> int:
        return len(self._examples) // self._batch * self._share

    def __getitem__(self, index: int) -> Batch:
        step, place = divmod(index, self._share)
        return self._examples[step * self._batch + self._before + place]


def nearest_people(joints: np.ndarray, height: int, width: int, people: int = PEOPLE) -> np.ndarray:
    """A fixed number of people: those whose joints show, nearest to the image's centre first.

    A person shows with a labelled joint inside the image or at most 24 pixels outside; the
    distance is that of the mean of the labelled joints. The nearest person stays even when none
    shows, so that the joints remain known; see `pose_targets`.

    Args:
      joints: float32 [any, 18, 3] in pixels of the image.
      height, width: of the image.
      people: number of rows to return.

    Returns:
      float32 [people, 18, 3], padded with state -1.
    """
    padded = np.zeros((people, *joints.shape[1:]), np.float32)
    padded[..., 2] = -1
    place, labelled = joints[..., :2], joints[..., 2] > 0
    inside = (place > -REACH) & (place < np.array((width, height)) - 1 + REACH)
    shown = (inside.all(-1) & labelled).any(-1)
    weight = labelled / np.maximum(labelled.sum(-1, keepdims=True), 1)
    means = (place * weight[..., None]).sum(1)
    away = np.linalg.norm(means - np.array((width - 1, height - 1)) / 2, axis=-1)
    order = np.lexsort((away, ~shown))[: min(max(int(shown.sum()), 1), people)]
    padded[: len(order)] = joints[order]
    return padded


def _view(
    builder: LocalBuilder,
    example: dict[str, Any],
    random: np.random.Generator,
    *,
    height: int,
    width: int,
) -> Batch:
    made = builder.view(example, height, width, random)
    return {
        "image": made["image"],
        "joints": nearest_people(made["joints"], height, width),
        "mask": made["mask"],
    }


def _check(
    builder: LocalBuilder, split: str, height: int, width: int, batch: int, processes: int
) -> None:
    if "joints" not in builder.info.features:
        raise InputError(f"A stream needs images with joints, {builder.TITLE} has none.")
    splits = builder.info.splits
    if set(splits) == {WHOLE}:
        raise InputError(f"{builder.TITLE} has no splits of its own and cannot be streamed.")
    if split not in splits:
        raise InputError(f"There is no split {split!r}: choose one of {', '.join(sorted(splits))}.")
    if height < 1 or width < 1 or height % STRIDE or width % STRIDE:
        raise InputError(
            f"Pose targets need a height and width divisible by {STRIDE}, got {height}x{width}."
        )
    if batch < 1 or batch % processes:
        raise InputError(f"A batch of {batch} cannot be shared by {processes} processes evenly.")
    rows = splits[split].num_examples
    if rows < batch:
        raise InputError(f"a batch of {batch} needs as many images, the {split} split has {rows}")
