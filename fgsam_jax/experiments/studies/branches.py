"""What the branches of a trained whole model score: slices of its descriptors."""

from pathlib import Path
from typing import Any

import numpy as np

from fgsam_jax import metrics
from fgsam_jax.checkpoint import restore
from fgsam_jax.config import Config
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.experiments.studies.rows import whole_method
from fgsam_jax.metrics.protocol import is_junk
from fgsam_jax.models.outputs import PLENARY
from fgsam_jax.retrieval.description import branch_columns
from fgsam_jax.retrieval.inference import BatchedEmbedding


def branch_scores(config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    """The scores of all branches, of each alone and of all but one.

    As every branch of a descriptor has the same length, a slice of it ranks as the descriptor of
    these branches alone would.

    Args:
      config: of the run.
      folder: of the run.

    Returns:
      By name, rows as `tables.spread_cells` takes them; "all", "head alone", "all but head" ...
    """
    name = whole_method(config)[1].name
    info, variables, _ = restore(folder, name, config.restore)
    embed = BatchedEmbedding(
        info.model(), variables, config.evaluation_batch, mirror=info.config.mirror
    )
    datasets = Datasets(config)
    query, gallery = datasets.table("query"), datasets.table("gallery")
    gallery = gallery.select(~is_junk(gallery.identities))
    rule = metrics.camera_rule(query.cameras, gallery.cameras)
    rows, others = (embed(x.images)["descriptor"] for x in (query, gallery))
    columns = branch_columns(info, rows.shape[1])

    def scores(branches: list[str]) -> dict[str, Any]:
        taken = np.concatenate([np.arange(rows.shape[1])[columns[x]] for x in branches])
        return metrics.evaluate(
            rows[:, taken],
            query.identities,
            query.cameras,
            others[:, taken],
            gallery.identities,
            gallery.cameras,
            same_camera=rule,
        ).to_dict()

    asked = {"all": list(columns)}
    for branch in columns:
        asked[f"{branch.replace('_', ' ')} alone"] = [branch]
        asked[f"all but {branch.replace('_', ' ')}"] = [x for x in columns if x != branch]
    plenary = scores([PLENARY])
    return {
        title: {"evaluation": {"scores": scores(branches), "plenary": plenary}}
        for title, branches in asked.items()
    }
