"""What is wrong with a data set, found before hours of training are spent on it.

Every check is a pure function of crops, files or joints and returns problems. A problem is fatal
if training on the set would fail or its figures would be worthless:

- an image that is missing or does not decode;
- a split without images, or no query with a match in the gallery;
- people or images of the training split in query or gallery;
- cameras known for some images of query and gallery only, which no evaluation rule covers;
- fewer images than were published;
- no known joint, joints that are no numbers, or most of them outside of their crop or on one spot.

The others are warnings: such a set can be trained on and measured, perhaps not as meant.
"""

from fgsam_jax.data.checks.crops import check_crops, check_published, has_match, perhaps_from_zero
from fgsam_jax.data.checks.files import File, inspect, inspect_all, passed_over, unusable_images
from fgsam_jax.data.checks.joints import check_joints, sides
from fgsam_jax.data.checks.leaks import shared_identities
from fgsam_jax.data.checks.problem import Problem
from fgsam_jax.data.checks.splits import Splits, cameras, drawn_splits, identities

__all__ = [
    "File",
    "Problem",
    "Splits",
    "cameras",
    "check_crops",
    "check_joints",
    "check_published",
    "drawn_splits",
    "has_match",
    "identities",
    "inspect",
    "inspect_all",
    "passed_over",
    "perhaps_from_zero",
    "shared_identities",
    "sides",
    "unusable_images",
]
