"""What `config.evaluation` asks for, from two tables to the lines that a person reads."""

import csv
import json

import numpy as np
import pytest

from fgsam_jax import metrics
from fgsam_jax.config import Evaluation
from fgsam_jax.data import Table
from fgsam_jax.evaluation.further import write_queries
from fgsam_jax.evaluation.reid import evaluate
from fgsam_jax.experiments import tables
from fgsam_jax.retrieval.rerank import Reranked, rerank

ALL = Evaluation(**dict.fromkeys(vars(Evaluation()), True))


def crops(identities, cameras, word):
    """A table whose images hold their own number, for `embedding` to look up."""
    count = len(identities)
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1).repeat(3, 3)
    names = np.array([f'{word} "{n}", left.jpg' for n in range(count)])
    return Table(images, names, np.array(identities), np.array(cameras), {})


def descriptors(images, title):
    random = np.random.default_rng(len(title))
    centres = np.random.default_rng(0).normal(size=(4, 8))
    rows = centres[np.asarray(images)[:, 0, 0, 0] % 4] + 0.8 * random.normal(size=(len(images), 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return {"descriptor": rows, "plenary": rows, "attributes": {}}


@pytest.fixture(scope="module")
def sets():
    query = crops([n % 4 + 1 for n in range(12)], [1] * 12, "query")
    identities = [(n % 4 + 1, 0, -1)[(n > 40) + (n > 50)] for n in range(60)]
    return query, crops(identities, [n % 3 + 1 for n in range(60)], "gallery")


def test_all_that_is_asked_for_is_in_json_and_in_tables_by_its_exact_name(sets, tmp_path):
    result = evaluate(descriptors, *sets, asked=ALL)
    row = {"title": "FGSAM", "evaluation": json.loads(json.dumps(result.to_dict()))}
    assert set(row["evaluation"]["further"]) == {
        "k_reciprocal_re_ranking", "average_query_expansion", "alpha_query_expansion",
        "verification", "single_gallery_shot",
    }  # fmt: skip
    report = tables.report(
        [{"title": "other", "evaluation": evaluate(descriptors, *sets).to_dict()}, row]
    )
    for name in (
        "k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3):",
        "average query expansion (5 gallery images):",
        "alpha query expansion (5 gallery images, alpha 3):",
        "true-match rate (TMR) at false-match rates",
        "single-gallery-shot CMC (one image of each person drawn for each query",
    ):
        assert name in report
    assert report.count("other") == 1  # nothing was asked of it
    figures = row["evaluation"]["further"]["k_reciprocal_re_ranking"]
    assert f"{100 * figures['map']:.2f}" in report
    assert [pair["gallery"] for pair in row["evaluation"]["camera_pairs"]] == [2, 3]

    write_queries(tmp_path / "queries.csv", result.asked[1])
    lines = list(csv.DictReader((tmp_path / "queries.csv").read_text().splitlines()))
    assert [line["query"] for line in lines] == list(sets[0].names)
    precisions = [float(line["average_precision"]) for line in lines]
    assert np.mean(precisions) == pytest.approx(result.scores.map, abs=1e-6)
    assert all(line["first_hit"].startswith("gallery") for line in lines)


def test_junk_is_no_neighbour_and_the_own_camera_is(sets):
    query, gallery = sets
    kept = gallery.select(gallery.identities >= 0)
    rows = [
        descriptors(table.images, title)["descriptor"]
        for table, title in ((query, "query"), (kept, "gallery"))
    ]
    labels = query.identities, query.cameras, kept.identities, kept.cameras
    expected = metrics.evaluate_distances(rerank(*rows), *labels)
    lazy = metrics.evaluate_distances(Reranked(*rows), *labels)

    found = evaluate(descriptors, *sets, asked=Evaluation(re_ranking=True)).asked[0]
    assert found["k_reciprocal_re_ranking"]["map"] == pytest.approx(expected.map, abs=1e-9)
    assert lazy.map == pytest.approx(expected.map, abs=1e-9)
    assert list(found) == ["k_reciprocal_re_ranking"]


def test_by_default_nothing_is_asked_for(sets):
    assert evaluate(descriptors, *sets, asked=Evaluation()).asked == ({}, [])


def test_without_cameras_there_are_no_pairs_of_them(sets):
    query, gallery = (crops(t.identities, t.cameras * 0, "x") for t in sets)
    assert "camera_pairs" not in evaluate(descriptors, query, gallery, asked=ALL).details
