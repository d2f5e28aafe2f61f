from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from fgsam_jax import metrics
from fgsam_jax.experiments.studies import branches
from fgsam_jax.experiments.studies.pooling import pooling_figures
from fgsam_jax.experiments.studies.rows import with_
from fgsam_jax.labels.skeleton import PARTS

PEOPLE, CAMERAS = 1 + np.arange(24) % 6, np.arange(24) // 6 % 2


def test_branches_score_as_descriptors_of_these_branches_alone(monkeypatch, tmp_path):
    """Descriptors are made anew here from random vectors of the branches."""
    random = np.random.default_rng(0)
    sizes = dict.fromkeys(PARTS, tiny.SIZES.part_size) | {"plenary": tiny.SIZES.plenary_size}
    vectors = {
        part: random.standard_normal((24, size)) + random.standard_normal((6, size))[PEOPLE - 1]
        for part, size in sizes.items()
    }

    def joined(parts):
        units = [vectors[x] / np.linalg.norm(vectors[x], axis=1, keepdims=True) for x in parts]
        return np.concatenate(units, axis=1) / len(units) ** 0.5

    info = SimpleNamespace(
        kind="fgsam",
        config=SimpleNamespace(model=tiny.SIZES, mirror=False),
        model=lambda: None,
    )
    image = np.arange(24)

    def table(rows):
        found = SimpleNamespace(
            images=image[rows], identities=PEOPLE[rows], cameras=CAMERAS[rows] + 1
        )
        found.select = lambda chosen: found
        return found

    tables = {"query": table(slice(0, 6)), "gallery": table(slice(6, 24))}
    whole = joined(sorted(PARTS))
    monkeypatch.setattr(branches, "restore", lambda *_: (info, {}, 1))
    monkeypatch.setattr(branches, "Datasets", lambda _: SimpleNamespace(table=tables.get))
    monkeypatch.setattr(
        branches, "BatchedEmbedding", lambda *_, **__: lambda images: {"descriptor": whole[images]}
    )
    found = branches.branch_scores(tiny.config(Path("set")), tmp_path)
    asked = {"all": PARTS, "lower arm alone": ["lower_arm"], "plenary alone": ["plenary"]}
    asked["all but head"] = [part for part in PARTS if part != "head"]
    assert len(found) == 15
    for title, parts in asked.items():
        rows = joined(parts)
        scores = metrics.evaluate(
            rows[:6], PEOPLE[:6], CAMERAS[:6] + 1, rows[6:], PEOPLE[6:], CAMERAS[6:] + 1
        )
        assert found[title]["evaluation"]["scores"]["map"] == pytest.approx(scores.map), title
    assert found["all"]["evaluation"]["plenary"] == found["plenary alone"]["evaluation"]["scores"]


def test_a_larger_sketch_has_a_smaller_error(tmp_path):
    config = tiny.config(Path("set"))
    few, many = (
        pooling_figures(with_(config, "model", sketch=size), tmp_path) for size in (64, 1024)
    )
    errors = [found["sketch"]["beside"]["cosine error"] for found in (few, many)]
    # The error falls as the root of the size.
    assert 2 < errors[0] / errors[1] < 8
    assert few["full"]["beside"]["cosine error"] == 0
