"""Pictures of a trained model: its ranked lists and what each part branch looks at (Fig. 6)."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.checkpoint import CheckpointInfo, restore
from fgsam_jax.data import Table
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.labels.skeleton import AFFINITY_CHANNELS, BACKGROUND, PARTS, part_channels
from fgsam_jax.metrics.protocol import Protocol, camera_rule, is_junk
from fgsam_jax.models.outputs import Outputs
from fgsam_jax.models.pose_net import Pose
from fgsam_jax.retrieval.inference import BatchedEmbedding, forward
from fgsam_jax.runtime import distributed
from fgsam_jax.visualization import draw

_QUERIES, _RANKS, _CROPS = 8, 10, 6


def draw_results(workdir: Path, datasets: Datasets, which: str = "last") -> list[Path]:
    """Draw the last phase of a run, its last or best checkpoint, into workdir/pictures.

    Of several processes all embed, and the first writes. Returns the files written.
    """
    info, variables, _ = restore(workdir, which=which)
    folder = workdir / "pictures"
    folder.mkdir(exist_ok=True)
    query, gallery = datasets.table("query"), datasets.table("gallery")
    gallery = gallery.select(~is_junk(gallery.identities))
    rule = camera_rule(query.cameras, gallery.cameras)
    shown = query.select(np.linspace(0, len(query) - 1, min(_QUERIES, len(query))).astype(int))
    size, mirror = info.config.evaluation_batch, info.config.mirror
    embedding = BatchedEmbedding(info.model(), variables, size, mirror=mirror)
    found = [embedding(table.images)["descriptor"] for table in (shown, gallery)]
    if not distributed.first():
        return []
    written = [folder / "ranked_lists.png"]
    _ranked_lists(shown, gallery, rule, *found).save(written[0])
    if info.kind != "baseline":
        crops = np.asarray(shown.images[:_CROPS])
        written.append(folder / "part_maps.png")
        draw.part_maps(crops, part_responses(info, variables, crops), PARTS).save(written[1])
    return written


def part_responses(
    info: CheckpointInfo, variables: dict[str, Any], crops: np.ndarray
) -> np.ndarray:
    """The `part_maps` of a model with a pose net for uint8 RGB crops [n, height, width, 3]."""
    images = jnp.asarray(crops)
    parsed = jax.jit(lambda v: _pose(forward(info.model(), v, images)).parsed)(variables)
    return part_maps(parsed)


def part_maps(parsed: jax.Array) -> np.ndarray:
    """Where each part's channels respond: the length of its limbs' fields and its joints' maps.

    Args:
      parsed: of `models.pose_net.Pose`, [n, h, w, 57].

    Returns:
      [n, h, w, 7], in the order of `skeleton.PARTS`; the background channel is left out.
    """
    maps = np.abs(np.asarray(parsed, np.float32))
    maps[..., AFFINITY_CHANNELS + BACKGROUND] = 0
    return np.sqrt(np.square(maps) @ part_channels().T.astype(np.float32))


def _pose(outputs: Outputs) -> Pose:
    assert outputs.pose is not None
    return outputs.pose


def _ranked_lists(
    query: Table, gallery: Table, rule: str, query_rows: np.ndarray, gallery_rows: np.ndarray
) -> Any:
    """The best gallery images of each query, of those that an evaluation ranks for it.

    Args:
      query: [queries] images.
      gallery: [gallery] images.
      rule: for images of the query's own camera, see `metrics.evaluate`.
      query_rows: [queries, dim], their descriptors.
      gallery_rows: [gallery, dim].
    """
    protocol = Protocol(query.identities, query.cameras, gallery.identities, gallery.cameras, rule)
    lists: list[Any] = []
    correct, captions = [], []
    for row in range(len(query)):
        candidates, same = protocol.candidates(row)
        distances = np.linalg.norm(gallery_rows - query_rows[row], axis=1)
        order = np.argsort(distances[candidates], kind="stable")[:_RANKS]
        best = candidates[order]
        lists.append(gallery.images[best])
        correct.append(same[order])
        captions.append(
            [f"{distances[i]:.2f}\n{_who(gallery.identities[i], gallery.cameras[i])}" for i in best]
        )
    heads = list(map(_who, query.identities, query.cameras))
    return draw.ranked_lists(
        query.images, lists, correct, query_captions=heads, gallery_captions=captions
    )


def _who(identity: int, camera: int) -> str:
    return f"id {identity} c{camera}" if camera else f"id {identity}"
