"""Re-identification and attribute metrics: CMC, mean average precision, mINP, accuracy.

Everything here is NumPy on the host, in float64. Larger is better in every score.

- `inputs`: identities, cameras, embeddings and distances as arrays, or refused.
- `protocol`: who may match whom, and which gallery images are dropped.
- `scores`: `evaluate` and `evaluate_distances`, what users call.
- `ranking`: the ranks of the positives, by counting instead of sorting the gallery.
- `counting`: how many negatives are ranked above each positive, in one tile of distances.
- `distances`: squared distances, fast ones with a bound of their error and exact ones.
- `precision`: average precision by three formulas, from the ranks.
- `neighbours`: the nearest gallery rows of each query, exact ones.
- `tiles`: distances of some queries to all of the gallery, exact where in doubt.
- `verification`: ROC and the true-match rate at false-match rates.
- `single_shot`: CMC with one gallery image of each person.
- `breakdown`: one ranking, and from it scores by pair of cameras and by query.
- `attributes`: accuracy, balanced accuracy and F1 of predicted attributes.
"""

from fgsam_jax.metrics.attributes import UNLABELLED, AttributeScores, attribute_scores
from fgsam_jax.metrics.breakdown import QueryResults, by_camera_pair, per_query
from fgsam_jax.metrics.protocol import DISTRACTOR, JUNK, SAME_CAMERA, camera_rule
from fgsam_jax.metrics.scores import Scores, evaluate, evaluate_distances
from fgsam_jax.metrics.single_shot import single_gallery_shot
from fgsam_jax.metrics.verification import Verification, verify

__all__ = [
    "DISTRACTOR",
    "JUNK",
    "SAME_CAMERA",
    "UNLABELLED",
    "AttributeScores",
    "QueryResults",
    "Scores",
    "Verification",
    "attribute_scores",
    "by_camera_pair",
    "camera_rule",
    "evaluate",
    "evaluate_distances",
    "per_query",
    "single_gallery_shot",
    "verify",
]
