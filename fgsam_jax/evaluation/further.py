"""What `config.evaluation` asks for beside the table: its figures and its CSV file.

Everything follows the protocol of the table: junk is nowhere, distractors stay as strangers. What
the camera rule drops for a query is not ranked for it, but as the rule needs labels, these images
are still among the neighbours that re-ranking and query expansion look at, as in the originals.
"""

import csv
import io
from pathlib import Path

from fgsam_jax import metrics
from fgsam_jax.config import Evaluation
from fgsam_jax.data import Table
from fgsam_jax.metrics.breakdown import NONE, Ranking
from fgsam_jax.retrieval.expansion import expand_queries
from fgsam_jax.retrieval.rerank import Reranked
from fgsam_jax.runtime.output import say, write_atomically

_HEAD = (
    "query", "identity", "camera", "matches", "average_precision", "first_hit_rank", "first_hit",
    "first_hit_distance", "nearest_miss", "nearest_miss_distance",
)  # fmt: skip


def further_figures(
    asked: Evaluation,
    ranked: Ranking,
    query: Table,
    gallery: Table,
    same_camera: str,
) -> tuple[dict[str, dict], list[list]]:
    """Figures of the whole descriptor.

    Args:
      asked: which of them.
      ranked: the gallery by the whole descriptor.
      query: images to look for.
      gallery: images to find them in, without junk.
      same_camera: see `metrics.evaluate`.

    Returns:
      {what: figures}, plain values for JSON, each with the "name" that tables give it; and the
      rows of the CSV file, if it is asked for.
    """
    rows, others = ranked.queries, ranked.gallery
    who = query.identities, query.cameras
    whom = gallery.identities, gallery.cameras
    problem = rows, *who, others, *whom
    figures: dict[str, dict] = {}
    if asked.re_ranking:
        distances = Reranked(rows, others)
        scores = metrics.evaluate_distances(distances, *who, *whom, same_camera=same_camera)
        name = "k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)"
        figures["k_reciprocal_re_ranking"] = {"name": name, **scores.to_dict()}
    for kind, alpha in (("average", 0.0), ("alpha", 3.0)) if asked.query_expansion else ():
        nearer = expand_queries(rows, others, alpha=alpha)
        scores = metrics.evaluate(nearer, *who, others, *whom, same_camera=same_camera)
        name = f"{kind} query expansion (5 gallery images{', alpha 3' if alpha else ''})"
        figures[f"{kind}_query_expansion"] = {"name": name, **scores.to_dict()}
    if asked.verification:
        verified = metrics.verify(*problem, same_camera=same_camera).to_dict()
        name = "verification: true-match rate (TMR) at false-match rates, area under the ROC"
        figures["verification"] = {"name": name, **verified}
    if asked.single_shot:
        cmc = metrics.single_gallery_shot(*problem, same_camera=same_camera).tolist()
        name = (
            "single-gallery-shot CMC (one image of each person drawn for each query, distractors "
            "stay, 10 draws, seed 0)"
        )
        figures["single_gallery_shot"] = {"name": name, "cmc": cmc, "draws": 10, "seed": 0}
    return figures, _query_rows(ranked, query, gallery) if asked.per_query else []


def _query_rows(ranked: Ranking, query: Table, gallery: Table) -> list[list]:
    return [
        [
            query.names[row],
            query.identities[row],
            query.cameras[row],
            positives,
            f"{precision:.6f}",
            rank,
            gallery.names[hit],
            f"{hit_distance:.6f}",
            "" if miss == NONE else gallery.names[miss],
            "" if miss == NONE else f"{miss_distance:.6f}",
        ]
        for row, positives, precision, rank, hit, hit_distance, miss, miss_distance in zip(
            *ranked.per_query(), strict=True
        )
    ]


def write_queries(path: Path, rows: list[list]) -> None:
    """The CSV file of the queries; an evaluation may lack the right to write, and says so."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_HEAD, *rows])
    try:
        write_atomically(path, text.getvalue())
    except OSError as error:
        say(f"{path} was not written: {error.strerror}")
    else:
        say(f"wrote {path}")
