"""Measure how fast this is, beside its rivals, on this machine.

    python tools/benchmark.py [--quick] [--section scoring] [--json FILE] [--rank_cy FILE]

Rivals are run in turn in one process, so that what else the machine does disturbs all alike; a
figure is the median over the rounds. FGSAM_DATA may name a folder with market_ids.npz, the
identities and cameras of Market-1501; without it a set of that structure is made up.
`--rank_cy` names fast-reid's compiled rank_cy module, which is measured too where it is there.
"""

import argparse
import importlib.util
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from fgsam_jax import metrics

Row = dict[str, Any]


def in_turn(section: str, runs: dict[str, Callable[[], Any]], rounds: int) -> list[Row]:
    """A row for each of the functions, of which the first is ours and the others are rivals.

    Returns:
      "median" and "spread" (between the quartiles) in seconds, "ratio" to the first: the median
      over the rounds of how many times longer it took.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    ours = np.array(next(iter(seconds.values())))
    rows = []
    for name, times in seconds.items():
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
        ratio = np.median(np.array(times) / ours)
        rows.append({"section": section, "what": name, "median": middle, "spread": high - low})
        rows[-1] |= {"ratio": ratio, "rounds": rounds}
    return rows


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


def backbones(options: argparse.Namespace) -> list[Row]:
    """Every published backbone: parameters, counted arithmetic and features of 256x128 images.

    "gflop" is XLA's count for one image, two for a multiplication and an addition, without the
    products with padding; "images_per_s" is of the forward pass in batches of 8, float32.
    """
    import jax
    import jax.numpy as jnp

    from fgsam_jax.build import make_backbone, variable_shapes
    from fgsam_jax.config import Model
    from fgsam_jax.models import osnet, resnet

    published = [name for name in resnet.VARIANTS if "_" not in name and name != "resnet10"]
    names = [*published, "resnet50_caffe", "resnet50_ibn_a", *osnet.VARIANTS]
    names = ["resnet18", "resnet50", "osnet_x0_25"] if options.quick else names
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 256, 128, 3), np.uint8))
    runs: dict[str, Callable[[], Any]] = {}
    counted: dict[str, Row] = {}
    for name in names:
        module = make_backbone(Model(backbone=name), jnp.float32, None)
        shapes = variable_shapes(module, 256, 128)
        ones = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), shapes)
        lowered = jax.jit(module.apply).lower(ones, images)
        runs[name] = partial(_finished, lowered.compile(), ones, images)
        size = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes["params"]))
        flops = (lowered.cost_analysis() or {})["flops"]
        counted[name] = {"parameters": size, "gflop": flops / len(images) / 1e9}
    rows = in_turn("backbones", runs, 3 if options.quick else 5)
    for row in rows:
        row |= counted[row["what"]] | {"images_per_s": len(images) / row["median"]}
    return rows


def _finished(run: Callable, *arguments: Any) -> Any:
    """JAX returns before the device has finished."""
    return run(*arguments).block_until_ready()


SECTIONS = [scoring, backbones]
_TIMES = ("section", "what", "median", "spread", "ratio", "rounds")


def main() -> None:
    """Run the sections that were asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller, fewer rounds")
    parser.add_argument("--section", choices=[x.__name__ for x in SECTIONS], help="one alone")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--rank_cy", type=Path, help="fast-reid's compiled module")
    options = parser.parse_args()
    rows = []
    for section in SECTIONS:
        if options.section in (None, section.__name__):
            rows += section(options)
    print(f"{'':45}{'median':>10}{'spread':>10}{'ratio':>8}")
    for row in rows:
        figures = f"{row['median']:9.3f}s{row['spread']:9.3f}s{row['ratio']:8.2f}"
        others = [f"{name} {value:.4g}" for name, value in row.items() if name not in _TIMES]
        print(f"{row['what']:45}{figures}  {', '.join(others)}")
    if options.json:
        options.json.write_text(json.dumps({"load": os.getloadavg(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
