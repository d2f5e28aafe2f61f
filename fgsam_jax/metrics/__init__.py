"""How well people are found and attributes told: CMC, mean average precision, mINP, accuracy."""

from fgsam_jax.metrics.attributes import UNLABELLED, AttributeScores, attribute_scores
from fgsam_jax.metrics.protocol import DISTRACTOR, JUNK, SAME_CAMERA
from fgsam_jax.metrics.scores import Scores, check_matches, evaluate, evaluate_distances

__all__ = [
    "DISTRACTOR",
    "JUNK",
    "SAME_CAMERA",
    "UNLABELLED",
    "AttributeScores",
    "Scores",
    "attribute_scores",
    "check_matches",
    "evaluate",
    "evaluate_distances",
]
