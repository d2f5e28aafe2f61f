"""The Market-1501 protocol on the images of a query and a gallery set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fgsam_jax import config, metrics
from fgsam_jax.data import Table
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.details import details
from fgsam_jax.evaluation.further import further_figures
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.metrics.breakdown import Ranking
from fgsam_jax.metrics.protocol import Protocol, is_junk
from fgsam_jax.retrieval.inference import Embedded


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model scores on a query and a gallery set.

    Attributes:
      scores: of the whole descriptor, all branches.
      plenary: of the plenary branch alone.
      attributes: by name, on the labelled images of query and gallery together.
      same_camera: the rule for gallery images of the query's own camera, see `metrics.evaluate`.
      queries: how many there are.
      repeated: how many of them are in the gallery too, byte for byte.
      asked: what `config.evaluation` asks for, of `further_figures`, and the rows of its CSV file.
      details: what a report shows beside, of `evaluation.details`; empty where nothing is asked.
    """

    scores: metrics.Scores
    plenary: metrics.Scores
    attributes: dict[str, metrics.AttributeScores]
    same_camera: str
    queries: int
    repeated: int
    asked: tuple[dict, list[list]] = ({}, [])
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "scores": self.scores.to_dict(),
            "plenary": self.plenary.to_dict(),
            "attributes": {name: scores.to_dict() for name, scores in self.attributes.items()},
            "same_camera": self.same_camera,
            "queries": self.queries,
            "repeated": self.repeated,
            "further": self.asked[0],
            **self.details,
        }


def evaluate(
    embed: Callable[[np.ndarray, str], Embedded],
    query: Table,
    gallery: Table,
    attributes: Sequence[Attribute] = (),
    asked: config.Evaluation | None = None,
) -> Evaluation:
    """Scores of an embedding by the Market-1501 protocol, as far as cameras are known.

    Args:
      embed: images and a title to the result of `embed_step`.
      query: images to look for.
      gallery: images to find them in; junk is left out, it never counts.
      attributes: that the embedding answers; those that the set does not know, or knows with
        other classes, are not scored.
      asked: what else to work out; None: the scores alone.

    Raises:
      InputError: an empty set, or no query has anything to find.
    """
    if not len(query):
        raise InputError("the query set is empty: nothing can be evaluated")
    gallery = gallery.select(~is_junk(gallery.identities))
    rule = metrics.camera_rule(query.cameras, gallery.cameras)
    found = embed(query.images, "query"), embed(gallery.images, "gallery")

    def rows(kind: str) -> tuple:
        own = found[0][kind], query.identities, query.cameras
        return *own, found[1][kind], gallery.identities, gallery.cameras

    by_camera = asked is not None and rule != "keep"
    ranked = Ranking.of(*rows("descriptor"), same_camera=rule, by_camera=by_camera)
    plenary = metrics.evaluate(*rows("plenary"), same_camera=rule)
    told = {}
    for attribute in attributes:
        if attribute not in query.kinds:
            continue
        name = attribute.name
        labels = np.concatenate([query.attributes[name], gallery.attributes[name]])
        if name in found[0]["attributes"] and (labels >= 0).any():
            answers = np.concatenate([part["attributes"][name] for part in found])
            told[name] = metrics.attribute_scores(answers, labels, len(attribute.classes))
    repeated = 0
    if query.contents is not None and gallery.contents is not None:
        repeated = int(np.isin(query.contents, gallery.contents).sum())
    further = further_figures(asked, ranked, query, gallery, rule) if asked else ({}, [])
    beside = details(ranked, query.identities, rule) if asked else {}
    return Evaluation(ranked.scores(), plenary, told, rule, len(query), repeated, further, beside)


def check_matches(query: Table, gallery: Table) -> None:
    """Refuse a test set on which nothing can be found, before hours of training end there.

    Raises:
      InputError: what `evaluate` would raise in the end.
    """
    if not len(query) or not len(gallery):
        raise InputError("there is nothing to evaluate on, a split is empty")
    cameras = gallery.cameras[~is_junk(gallery.identities)]
    protocol = Protocol(
        query.identities,
        query.cameras,
        gallery.identities,
        gallery.cameras,
        metrics.camera_rule(query.cameras, cameras),
    )
    protocol.refuse_nobody()
    if not protocol.has_positive().any():
        raise protocol.nothing_to_find()


def mean_colour(images: np.ndarray, title: str | None = None) -> Embedded:
    """The mean RGB of each crop as its descriptor: what colour statistics alone can do."""
    del title
    means = np.stack([np.asarray(image, np.float32).mean(axis=(0, 1)) for image in images])
    return {"descriptor": means, "plenary": means}
