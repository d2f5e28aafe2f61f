"""How well people are found and attributes told: CMC, mean average precision, mINP, accuracy."""

from fgsam_jax.metrics.attributes import UNLABELLED, AttributeScores, attribute_scores
from fgsam_jax.metrics.protocol import DISTRACTOR, JUNK, SAME_CAMERA, camera_rule
from fgsam_jax.metrics.scores import Scores, evaluate, evaluate_distances

__all__ = [
    "DISTRACTOR",
    "JUNK",
    "SAME_CAMERA",
    "UNLABELLED",
    "AttributeScores",
    "Scores",
    "attribute_scores",
    "camera_rule",
    "evaluate",
    "evaluate_distances",
]
