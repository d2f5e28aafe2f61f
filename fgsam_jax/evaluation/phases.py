"""What the models of a run score, from their checkpoints."""

from pathlib import Path
from typing import Any

from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, checkpoint_folder, restore
from fgsam_jax.config import Config, Evaluation
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.further import write_queries
from fgsam_jax.evaluation.pose import evaluate_pose
from fgsam_jax.evaluation.reid import evaluate, mean_colour
from fgsam_jax.models.factory import initial_variables
from fgsam_jax.retrieval.inference import BatchedEmbedding
from fgsam_jax.runtime import startup
from fgsam_jax.runtime.output import say


def evaluate_phase(
    info: CheckpointInfo,
    variables: dict[str, Any],
    datasets: Datasets,
    asked: tuple[Evaluation, Path] | None = None,
) -> dict[str, Any]:
    """What a phase's model scores on its test split, as plain values for JSON.

    Args:
      info: of the phase's checkpoint.
      variables: of its model.
      datasets: of the configuration.
      asked: `config.evaluation`, and the run's folder for its CSV file; None: the scores alone.

    Returns:
      "title", "headline" (one line) and either "evaluation", of `Evaluation.to_dict`, and "map",
      or, for the pose phase, "pose", of `evaluate_pose`; and "tested_on", a digest of the split.
    """
    title, tested_on = info.title, datasets.test_digest(info.kind)
    if info.kind == "pose":
        errors = evaluate_pose(info, variables, datasets.pose("val"))
        startup.free_memory()
        headline = (
            f"pose error relative to predicting nothing: heat maps {errors['heat']:.2f}, "
            f"affinity fields {errors['affinity']:.2f}"
        )
        return {"title": title, "headline": headline, "pose": errors, "tested_on": tested_on}
    result = evaluate(
        BatchedEmbedding(
            info.model(), variables, info.config.evaluation_batch, mirror=info.config.mirror
        ),
        datasets.table("query"),
        datasets.table("gallery"),
        info.attributes,
        asked[0] if asked else None,
    )
    if asked and asked[0].per_query:
        write_queries(asked[1] / f"queries_{info.phase}.csv", result.asked[1])
    headline = f"rank-1 {100 * result.scores.rank(1):.2f}, mAP {100 * result.scores.map:.2f}"
    if result.repeated:
        headline += f" ({result.repeated} of {result.queries} queries are gallery images too)"
    scores = {"evaluation": result.to_dict(), "map": result.scores.map}
    startup.free_memory()
    return {"title": title, "headline": headline, **scores, "tested_on": tested_on}


def renewed_results(
    config: Config, workdir: Path, datasets: Datasets, results: dict[str, dict]
) -> dict[str, dict]:
    """The results of finished phases, those on other test images scored anew on the present ones.

    Args:
      config: of the run.
      workdir: of the run.
      datasets: of the configuration.
      results: of the finished phases, by name.
    """
    renewed = dict(results)
    for phase in config.phases:
        held = results.get(phase.name)
        if held is None or held.get("tested_on") == datasets.test_digest(phase.model):
            continue
        info, variables, _ = restore(workdir, phase.name, config.restore)
        info.config.evaluation_batch = config.evaluation_batch
        renewed[phase.name] = held | evaluate_phase(
            info, variables, datasets, (config.evaluation, workdir)
        )
        say(f"{phase.name}: its test images have changed since it finished, it is scored anew")
    return renewed


def restored_results(config: Config, workdir: Path, datasets: Datasets) -> list[dict]:
    """What `evaluate_phase` says of every phase of a run, from its checkpoints.

    Raises:
      InputError: no phase has a checkpoint, or it is of another model or seed than the
        configuration's.
    """
    results = []
    for phase in config.phases:
        folder = checkpoint_folder(workdir, phase.name)
        if not folder.is_dir() or Checkpoints(folder).step() is None:
            continue  # not reached, or stopped before its first checkpoint
        info, variables, step = restore(workdir, phase.name, config.restore)
        for name, value in vars(info.config.model).items():
            if value != getattr(config.model, name):
                raise InputError(
                    f"the checkpoint in {folder} is of another model: config.model.{name} is "
                    f"{value!r} there and {getattr(config.model, name)!r} here"
                )
        if info.config.seed != config.seed:
            raise InputError(
                f"the checkpoint in {folder} is of another run: pass --config.seed="
                f"{info.config.seed}"
            )
        size = (info.config.data.height, info.config.data.width)
        if size != (config.data.height, config.data.width):
            raise InputError(
                f"the checkpoint in {folder} is for images of {size[0]}x{size[1]}, the "
                f"configuration asks for {config.data.height}x{config.data.width}"
            )
        _check_split(info, config, datasets)
        info.config.evaluation_batch = config.evaluation_batch
        info.config.mirror = config.mirror
        result = evaluate_phase(info, variables, datasets, (config.evaluation, workdir))
        say(f"{phase.name}: restored step {step}, {result['headline']}")
        results.append(result)
    if not results:
        raise InputError(f"{workdir} holds no checkpoint of this configuration: train first")
    return results


def _check_split(info: CheckpointInfo, config: Config, datasets: Datasets) -> None:
    """Refuse to test on people who were trained on; say so if the set is another one."""
    trained, asked = info.config.data, config.data
    if trained.name != asked.name:
        say(f"{info.phase}: trained on {trained.name}, evaluated on {asked.name}")
        return
    if info.tested_on != datasets.test_digest(info.kind):
        say(f"{info.phase}: evaluated on other images than in training")
    if not datasets.drawn:
        return
    if trained.split_seed != asked.split_seed:
        raise InputError(
            f"{info.phase} was trained on the split drawn with split_seed={trained.split_seed}: "
            f"with {asked.split_seed} some of its people would be in the test. Pass "
            f"--config.data.split_seed={trained.split_seed}"
        )
    same = info.kind == "pose" or datasets.table("train").digest == info.trained_on
    if trained.source == asked.source and not same:
        raise InputError(
            f"{asked.source} has changed since {info.phase} was trained, and with it the splits "
            f"that are drawn: some of its people would be in the test. Give the splits, or train "
            f"again in another --workdir"
        )


def reference_rows(info: CheckpointInfo, datasets: Datasets) -> list[dict]:
    """What needs no training: the mean colour of the crop, and the model with random weights."""
    query, gallery = datasets.table("query"), datasets.table("gallery")
    colour = evaluate(mean_colour, query, gallery)
    data = info.config.data
    fresh = initial_variables(info.model(), info.config.seed, data.height, data.width)
    untrained = evaluate_phase(info, fresh, datasets)
    return [
        {"title": "mean colour of the crop", "evaluation": colour.to_dict()},
        untrained | {"title": "untrained " + info.title},
    ]
