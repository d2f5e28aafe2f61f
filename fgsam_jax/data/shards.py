"""A builder of sets that are larger than the memory."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from fgsam_jax.data.records import LocalBuilder


class ShardedBuilder(tfds.core.ShardBasedBuilder, LocalBuilder):
    """A builder that writes its records shard by shard, in the order in which they come.

    A subclass gives `VERSION`, the data set's `features` and `files`, and TFDS's
    `_shard_iterators_per_split`. TFDS's other way collects a whole split first; beyond 1 GB it
    does so on disk, for which it needs TensorFlow, and reads all of it back at once.
    """

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError("the records are written shard by shard")

    def _generate_examples(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        raise NotImplementedError("the records are written shard by shard")
