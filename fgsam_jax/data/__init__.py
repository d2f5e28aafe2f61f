"""Data sets: from a folder of images to the arrays of a split."""

from fgsam_jax.data.datasets.catalogue import builders, open_set
from fgsam_jax.data.table import Table, load_table

__all__ = ["Table", "builders", "load_table", "open_set"]
