"""Losses: one value per example, so that the caller decides how to average.

Everything here is a pure function that `jit`, `grad`, `vmap` and `pmap` may wrap. The triplet
losses mine inside the batch; with `axis_name` they mine over all devices of that axis, so that
N devices compute what one device computes on the whole batch.

Arrays of other shapes or types than documented are refused with an InputError, also while a program
is traced: nothing broadcasts to something unmeant. What is not a number (NaN) in an input is not a
number in the loss and its gradient either, so that a broken batch cannot look like a good one.

Equations are those of the FGSAM paper (IEEE TIP 2020). Half-precision inputs are raised to
float32 before they are summed; float64 stays float64.
"""

from fgsam_jax.loss.classification import attribute_cross_entropy
from fgsam_jax.loss.metric_learning import focal_triplet, triplet
from fgsam_jax.loss.mining import Triplets, hardest_triplets, pairwise_distance
from fgsam_jax.loss.pose import pose_error

__all__ = [
    "Triplets",
    "attribute_cross_entropy",
    "focal_triplet",
    "hardest_triplets",
    "pairwise_distance",
    "pose_error",
    "triplet",
]
