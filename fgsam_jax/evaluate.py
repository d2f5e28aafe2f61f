"""The Market protocol: from a checkpoint to the figures of a paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fgsam_jax import build, metrics, objective
from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.config import Config
from fgsam_jax.data import Table
from fgsam_jax.data.attributes import Attribute
from fgsam_jax.embed import BatchedEmbedding, Embedded
from fgsam_jax.errors import InputError
from fgsam_jax.log import say
from fgsam_jax.sets import Sets
from fgsam_jax.step import forward


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model scores on a query and a gallery set.

    Attributes:
      scores: of the whole descriptor, all branches.
      plenary: of the plenary branch alone.
      attributes: by name, on the labelled images of query and gallery together.
      same_camera: the rule for gallery images of the query's own camera, see `metrics.evaluate`.
    """

    scores: metrics.Scores
    plenary: metrics.Scores
    attributes: dict[str, metrics.AttributeScores]
    same_camera: str

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "scores": self.scores.to_dict(),
            "plenary": self.plenary.to_dict(),
            "attributes": {name: scores.to_dict() for name, scores in self.attributes.items()},
            "same_camera": self.same_camera,
        }


def evaluate(
    embed: Callable[[np.ndarray, str], Embedded],
    query: Table,
    gallery: Table,
    attributes: Sequence[Attribute] = (),
) -> Evaluation:
    """Scores of an embedding by the Market-1501 protocol, as far as cameras are known.

    Args:
      embed: images and a title to the result of `embed_step`.
      query: images to look for.
      gallery: images to find them in; junk (identity -1) is left out, it never counts.
      attributes: that the embedding answers; those that the set does not know, or knows with
        other classes, are not scored.

    Raises:
      InputError: an empty set, or no query has anything to find.
    """
    if not len(query):
        raise InputError("the query set is empty: nothing can be evaluated")
    gallery = gallery.select(gallery.identities != -1)
    rule = camera_rule(query, gallery)
    found = embed(query.images, "query"), embed(gallery.images, "gallery")

    def scores(field: str) -> metrics.Scores:
        return metrics.evaluate(
            found[0][field],
            query.identities,
            query.cameras,
            found[1][field],
            gallery.identities,
            gallery.cameras,
            same_camera=rule,
        )

    told = {}
    for attribute in attributes:
        if attribute not in query.kinds:
            continue
        name = attribute.name
        labels = np.concatenate([query.attributes[name], gallery.attributes[name]])
        if name in found[0]["attributes"] and (labels >= 0).any():
            answers = np.concatenate([part["attributes"][name] for part in found])
            told[name] = metrics.attribute_scores(answers, labels, len(attribute.classes))
    return Evaluation(scores("descriptor"), scores("plenary"), told, rule)


def camera_rule(query: Table, gallery: Table) -> str:
    """The rule of Market-1501 where cameras are known; without them the whole gallery counts.

    Raises:
      InputError: only some images have a camera.
    """
    known = np.concatenate([query.cameras, gallery.cameras]) > 0
    if not known.any():
        return "keep"
    if not known.all():
        raise InputError(
            f"{(~known).sum()} of {len(known)} images of query and gallery have no camera: give "
            f"every image one, or none"
        )
    return "drop_same_identity"


def check_matches(query: Table, gallery: Table) -> None:
    """Whether an evaluation has anything to find; raises InputError, as `evaluate` would."""
    if not len(query) or not len(gallery):
        raise InputError("there is nothing to evaluate on, a split is empty")
    metrics.check_matches(
        query.identities,
        query.cameras,
        gallery.identities,
        gallery.cameras,
        same_camera=camera_rule(query, gallery.select(gallery.identities != metrics.JUNK)),
    )


def mean_colour(images: np.ndarray, title: str | None = None) -> Embedded:
    """The mean RGB of each crop as its descriptor: what colour statistics alone can do."""
    del title
    means = np.stack([np.asarray(image, np.float32).mean(axis=(0, 1)) for image in images])
    return {"descriptor": means, "plenary": means}


def evaluate_phase(about: build.About, variables: dict[str, Any], sets: Sets) -> dict[str, Any]:
    """What a phase's model scores on its test split, as plain values for JSON.

    Returns:
      "title", "headline" (one line) and either "evaluation", of `Evaluation.to_dict`, and "map",
      or, for the pose phase, "pose", of `evaluate_pose`.
    """
    title = about.title
    if about.kind == "pose":
        errors = evaluate_pose(about, variables, sets.pose("val"))
        headline = (
            f"stage 3 leaves {errors['heat']:.2f} of the heat and {errors['affinity']:.2f} of the "
            "affinity error of an empty picture"
        )
        return {"title": title, "headline": headline, "pose": errors}
    result = evaluate(
        BatchedEmbedding(about.model(), variables, about.config.evaluation_batch),
        sets.table("query"),
        sets.table("gallery"),
        about.attributes,
    )
    headline = f"rank-1 {100 * result.scores.rank(1):.2f}, mAP {100 * result.scores.map:.2f}"
    scores = {"evaluation": result.to_dict(), "map": result.scores.map}
    return {"title": title, "headline": headline, **scores}


def restored_results(config: Config, workdir: Path, sets: Sets) -> list[dict]:
    """What `evaluate_phase` says of every phase of a run, from its checkpoints.

    Raises:
      InputError: no phase has a checkpoint, or it is of another model or seed than the
        configuration's.
    """
    results = []
    for phase in config.phases:
        folder = build.checkpoint_folder(workdir, phase.name)
        if not folder.is_dir() or Checkpoints(folder).step() is None:
            continue  # not reached, or stopped before its first checkpoint
        about, variables, step = build.restore(workdir, phase.name, config.restore)
        for name, value in vars(about.config.model).items():
            if value != getattr(config.model, name):
                raise InputError(
                    f"the checkpoint in {folder} is of another model: config.model.{name} is "
                    f"{value!r} there and {getattr(config.model, name)!r} here"
                )
        if about.config.seed != config.seed:
            raise InputError(
                f"the checkpoint in {folder} is of another run: pass --config.seed="
                f"{about.config.seed}"
            )
        size = (about.config.data.height, about.config.data.width)
        if size != (config.data.height, config.data.width):
            raise InputError(
                f"the checkpoint in {folder} is for images of {size[0]}x{size[1]}, the "
                f"configuration asks for {config.data.height}x{config.data.width}"
            )
        _check_split(about, config, sets)
        about.config.evaluation_batch = config.evaluation_batch
        result = evaluate_phase(about, variables, sets)
        say(f"{phase.name}: restored step {step}, {result['headline']}")
        results.append(result)
    if not results:
        raise InputError(f"{workdir} holds no checkpoint of this configuration: train first")
    return results


def _check_split(about: build.About, config: Config, sets: Sets) -> None:
    """Refuse to test on people who were trained on; say so if the set is another one."""
    trained, asked = about.config.data, config.data
    if trained.name != asked.name:
        say(f"{about.phase}: trained on {trained.name}, evaluated on {asked.name}")
    elif sets.drawn and trained.split_seed != asked.split_seed:
        raise InputError(
            f"{about.phase} was trained on the split drawn with split_seed={trained.split_seed}: "
            f"with {asked.split_seed} some of its people would be in the test. Pass "
            f"--config.data.split_seed={trained.split_seed}"
        )


def evaluate_pose(about: build.About, variables: dict[str, Any], table: Table) -> dict[str, float]:
    """Masked error of the last stage as a share of the error of predicting an empty picture.

    Args:
      about: of the pose phase.
      variables: of its model.
      table: images with joints.

    Returns:
      "heat" and "affinity", 1 where nothing was learned or nothing is known.
    """
    model, sigma = about.model(), about.config.pose_data.sigma

    @jax.jit
    def errors(variables: dict[str, Any], batch: dict[str, Any]) -> dict[str, jax.Array]:
        terms = objective.pose(forward(model, variables, batch["image"]), batch, sigma=sigma)
        return {**terms.losses, **terms.signs}

    if table.joints is None or table.mask is None:
        raise InputError("the pose net can only be judged on images with joints")
    sums: dict[str, float] = {}
    size = about.config.evaluation_batch
    for begin in range(0, len(table), size):
        rows = slice(begin, begin + size)
        batch = {
            "image": np.asarray(table.images[rows]),
            "joints": np.asarray(table.joints[rows]),
            "mask": np.asarray(table.mask[rows]),
        }
        for name, value in errors(variables, batch).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch["image"])
    # A source that knows no limb whole, say, leaves no error to compare with.
    return {
        name: sums[f"{name}_3"] / sums[f"{name}_empty"] if sums[f"{name}_empty"] else 1.0
        for name in ("heat", "affinity")
    }


def reference_rows(about: build.About, sets: Sets) -> list[dict]:
    """What needs no training: the mean colour of the crop, and the model with random weights."""
    query, gallery = sets.table("query"), sets.table("gallery")
    colour = evaluate(mean_colour, query, gallery)
    data = about.config.data
    fresh = build.initial_variables(about.model(), about.config.seed, data.height, data.width)
    untrained = evaluate_phase(about, fresh, sets)
    return [
        {"title": "mean colour of the crop", "evaluation": colour.to_dict()},
        untrained | {"title": "untrained " + about.title},
    ]
