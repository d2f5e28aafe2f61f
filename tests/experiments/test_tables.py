import numpy as np
import pytest

from fgsam_jax.data import Table
from fgsam_jax.evaluation.reid import evaluate
from fgsam_jax.experiments import tables


def row(title, figure, cameras="drop_same_identity"):
    """A row whose every score is `figure`."""
    scores = {
        "cmc": [figure] * 10,
        "map": figure,
        "map_trapezoid": figure,
        "map_interpolated": figure,
        "minp": figure,
        "valid_queries": 7,
    }
    evaluation = {"scores": scores, "plenary": scores, "attributes": {}, "same_camera": cameras}
    return {"title": title, "evaluation": evaluation}


def test_repeated_runs_give_mean_and_standard_deviation_of_each_row():
    runs = [[row("Base", base), row("FGSAM", full)] for base, full in ((0.1, 0.5), (0.3, 0.5))]
    lines = tables.spread_table(runs).splitlines()

    # The sample's deviation of 10 and 30 is sqrt(2 * 10^2 / 1).
    assert lines[0].split()[:4] == ["rank-1", "rank-5", "rank-10", "mAP"]
    assert lines[1].split() == ["Base", *["20.00", "±", "14.14"] * 8]
    assert lines[2].split() == ["FGSAM", *["50.00", "±", "0.00"] * 8]


def test_a_table_says_which_camera_rule_it_followed():
    assert "identity and camera are left out" in tables.report([row("Base", 0.5)])
    assert "No cameras are known" in tables.report([row("Base", 0.5, "keep")])


def test_pairs_of_cameras_that_an_earlier_version_left_are_no_table():
    kept = row("Base", 0.5)
    kept["evaluation"]["further"] = {"camera_pairs": {"name": "by pair", "pairs": []}}
    assert tables.report([kept]) == tables.report([row("Base", 0.5)])


def table(identities, cameras):
    rows = len(identities)
    return Table(
        images=np.zeros((rows, 2, 2, 3), np.uint8),
        names=np.arange(rows).astype(str),
        identities=np.array(identities, np.int32),
        cameras=np.array(cameras, np.int32),
        attributes={},
    )


def test_without_cameras_every_image_of_a_person_is_a_match():
    def embed(images, title):
        rows = np.eye(3)[: len(images)]
        return {"descriptor": rows, "plenary": rows}

    result = evaluate(embed, table([1], [0]), table([1, 2, 1], [0, 0, 0]))

    assert result.same_camera == "keep"
    # One match comes first, the other last by gallery order: AP = (1 + 2/3) / 2.
    assert result.scores.map == pytest.approx((1 + 2 / 3) / 2)
