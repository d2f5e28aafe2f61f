"""Pictures of a trained model for its report: ranked lists, what each part looks at (Fig. 6)."""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fgsam_jax.checkpoint import CheckpointInfo, restore
from fgsam_jax.data import Table
from fgsam_jax.data.images import encode
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.labels.skeleton import AFFINITY_CHANNELS, BACKGROUND, PARTS, part_channels
from fgsam_jax.metrics.protocol import is_junk
from fgsam_jax.retrieval.inference import forward
from fgsam_jax.runtime.output import write_atomically
from fgsam_jax.visualization import draw
from fgsam_jax.visualization.layout import as_tile

PICTURES = "pictures.json"
_HEIGHT, _QUALITY, _CROPS = 128, 80, 6


def keep_pictures(
    workdir: Path, datasets: Datasets, lists: Sequence[dict], which: str = "last"
) -> Path:
    """Write small pictures of the last phase's results to workdir/pictures.json.

    They are in the file themselves (JPEG in base64), so that a report needs no data set: "lists",
    as given with images, names, identities and cameras, and "parts", the part maps of some queries.

    Args:
      workdir: of a run.
      datasets: of its configuration.
      lists: of `evaluation.details.ranked_lists`, of the last phase.
      which: "last" or "best", its checkpoint.
    """
    query, gallery = datasets.table("query"), datasets.table("gallery")
    gallery = gallery.select(~is_junk(gallery.identities))
    shown = [_with_pictures(one, query, gallery) for one in lists]
    rows = [one["query"] for one in lists]
    rows = rows[:: 2 if len(rows) > _CROPS else 1]  # of the best, the median and the worst alike
    if not rows:
        rows = np.linspace(0, len(query) - 1, min(_CROPS, len(query))).astype(int).tolist()
    info, variables, _ = restore(workdir, which=which)
    parts = [] if info.kind == "baseline" else _parts(info, variables, query.select(np.array(rows)))
    path = workdir / PICTURES
    write_atomically(path, json.dumps({"lists": shown, "parts": parts}))
    return path


def part_responses(
    info: CheckpointInfo, variables: dict[str, Any], crops: np.ndarray
) -> np.ndarray:
    """The `part_maps` of a model with a pose net for uint8 RGB crops [n, height, width, 3]."""
    return part_maps(_parse(info.model())(variables, jnp.asarray(crops)))


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


def _parts(info: CheckpointInfo, variables: dict[str, Any], table: Table) -> list[dict]:
    """Each crop beside its part maps."""
    crops = np.asarray(table.images[:])
    found = part_responses(info, variables, crops)
    return [
        {
            **_described(table, row),
            "maps": {
                part: _jpeg(draw.overlay(as_tile(crop), maps[..., place]))
                for place, part in enumerate(PARTS)
            },
        }
        for row, (crop, maps) in enumerate(zip(crops, found, strict=True))
    ]


@cache
def _parse(model: nn.Module) -> Callable:
    """The channels that part branches see, compiled once for each number of crops."""

    def parsed(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        pose = forward(model, variables, images).pose
        assert pose is not None
        return pose.parsed

    return jax.jit(parsed)


def _with_pictures(ranked: dict, query: Table, gallery: Table) -> dict:
    found = [
        {**_described(gallery, row), "distance": distance, "correct": correct}
        for row, distance, correct in zip(
            ranked["found"], ranked["distances"], ranked["correct"], strict=True
        )
    ]
    figures = {name: ranked[name] for name in ("group", "average_precision", "rank", "positives")}
    return {**figures, "query": _described(query, ranked["query"]), "found": found}


def _described(table: Table, row: int) -> dict[str, Any]:
    return {
        "jpeg": _jpeg(Image.fromarray(np.asarray(table.images[row]))),
        "name": str(table.names[row]),
        "identity": int(table.identities[row]),
        "camera": int(table.cameras[row]),
    }


def _jpeg(picture: Image.Image) -> str:
    """A small JPEG in base64."""
    picture = picture.copy()
    picture.thumbnail((_HEIGHT, _HEIGHT))
    return b64encode(encode(picture, "JPEG", quality=_QUALITY)).decode()
