"""Market-1501's protocol beside other evaluators.

FGSAM_DATA may name a folder with market_ids.npz, the identities and cameras of Market-1501;
without it a set of that structure is made up.
"""

import argparse
import importlib.util
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from benchmarks.common import Row, in_turn
from fgsam_jax import metrics


def scoring(options: argparse.Namespace) -> list[Row]:
    """Market-1501's protocol: from distances, and from embeddings of 512 dimensions."""
    identities, cameras, queries = market_ids(options.quick)
    embeddings = clustered(identities)
    split = slice(0, queries), slice(queries, None)
    q, g = (embeddings[part] for part in split)
    labels = [x[part] for part in split for x in (identities, cameras)]
    distances = euclidean(q, g)
    compiled = compiled_evaluator(options.rank_cy)

    given: dict[str, Callable[[], Any]] = {
        "distances": lambda: metrics.evaluate_distances(distances, *labels),
        "distances, argsort": lambda: argsort_evaluator(distances, *labels),
    }
    if compiled:
        q_ids, q_cams, g_ids, g_cams = labels
        given["distances, fast-reid's Cython"] = lambda: compiled(
            distances, q_ids, g_ids, q_cams, g_cams, 50
        )
    embedded: dict[str, Callable[[], Any]] = {
        "embeddings": lambda: metrics.evaluate(q, labels[0], labels[1], g, labels[2], labels[3]),
        "embeddings, product and argsort": lambda: argsort_evaluator(euclidean(q, g), *labels),
        "embeddings, the product alone": lambda: q @ g.T,
    }
    rows = []
    for runs, exact in ((given, distances), (embedded, cdist(q, g, "sqeuclidean"))):
        ours = next(iter(runs.values()))
        found, (cmc, mean) = ours(), argsort_evaluator(exact, *labels, kind="stable")
        rows += in_turn("scoring", runs, 3 if options.quick else 9)
        rows[-len(runs)] |= {
            "extra_mib": extra_memory(ours),
            "map_difference": abs(found.map - mean),
            "cmc_difference": float(np.max(np.abs(found.cmc - cmc))),
        }
    return rows


def argsort_evaluator(
    distances: NDArray,
    q_ids: NDArray,
    q_cams: NDArray,
    g_ids: NDArray,
    g_cams: NDArray,
    *,
    kind: Literal["stable"] | None = None,
) -> tuple[NDArray, float]:
    """CMC and mAP from the whole gallery in order, as evaluators in NumPy do it."""
    order = np.argsort(distances, axis=1, kind=kind)
    cmc, precisions = [], []
    for row, identity, camera in zip(order, q_ids, q_cams, strict=True):
        same = g_ids[row] == identity
        hits = same[~(same & (g_cams[row] == camera))]
        if not hits.any():
            continue
        found = np.cumsum(hits)
        cmc.append(found[:50] > 0)
        precisions.append(np.mean((found / np.arange(1, len(found) + 1))[hits]))
    return np.mean(cmc, axis=0), float(np.mean(precisions))


def compiled_evaluator(path: Path | None) -> Callable | None:
    """fast-reid's evaluate_cy, from a file or wherever Python finds rank_cy."""
    if path:
        spec = importlib.util.spec_from_file_location("rank_cy", path)
    else:
        spec = importlib.util.find_spec("rank_cy")
    if not spec or not spec.loader:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate_cy


def market_ids(quick: bool) -> tuple[NDArray, NDArray, int]:
    """Identities and cameras of queries, then gallery (without junk), and how many queries."""
    path = Path(os.environ.get("FGSAM_DATA", "nowhere")) / "market_ids.npz"
    if path.exists():
        with np.load(path) as ids:
            kept = ids["gallery_id"] != metrics.JUNK
            q_ids, q_cams = ids["query_id"], ids["query_cam"]
            g_ids, g_cams = ids["gallery_id"][kept], ids["gallery_cam"][kept]
    else:
        rng = np.random.default_rng(0)
        q_ids = np.sort(rng.integers(1, 751, 3368))
        g_ids = np.sort(np.concatenate([np.zeros(2798, int), rng.integers(1, 751, 13115)]))
        q_cams, g_cams = (rng.integers(1, 7, len(ids)) for ids in (q_ids, g_ids))
    if quick:
        q_ids, q_cams = q_ids[::8], q_cams[::8]
    return np.concatenate([q_ids, g_ids]), np.concatenate([q_cams, g_cams]), len(q_ids)


def clustered(identities: NDArray, dim: int = 512, noise: float = 2.2) -> NDArray[np.float32]:
    """[n, dim] rows of length 1 around a centre for each person; the noise leaves mAP near 0.7."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(identities.max() + 1, dim)).astype(np.float32)[identities]
    # Distractors have nothing in common.
    strangers = identities == metrics.DISTRACTOR
    rows[strangers] = rng.normal(size=(strangers.sum(), dim))
    rows += rng.normal(scale=noise, size=rows.shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def euclidean(x: NDArray, y: NDArray) -> NDArray:
    """[n, m] distances by one product, in float32 as usual."""
    squared = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)
    squared -= 2 * (x @ y.T)
    return np.sqrt(np.maximum(squared, 0))


def extra_memory(run: Callable[[], Any]) -> float:
    """The most that a run holds at any time in NumPy's arrays, in MiB."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
