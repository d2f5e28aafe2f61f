import io
import json
from base64 import b64decode

import numpy as np
from PIL import Image

from fgsam_jax.data import Table
from fgsam_jax.visualization import results

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 256, 64, 3), np.uint8)


def table(rows, identities):
    names = np.array([f"{row}.jpg" for row in rows])
    return Table(IMAGES[rows], names, np.array(identities), np.array(rows) + 1, {})


class Datasets:
    def table(self, split):
        return table([0, 1], [1, 2]) if split == "query" else table([2, 3, 4], [-1, 1, 2])


class Baseline:
    kind = "baseline"


def test_pictures_are_kept_small_and_of_the_rows_that_are_ranked(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "restore", lambda *_, **__: (Baseline, {}, 1))
    ranked = {"group": "best", "query": 1, "average_precision": 1.0, "rank": 1, "positives": 1}
    lists = [ranked | {"found": [1, 0], "distances": [0.25, 0.5], "correct": [True, False]}]
    kept = json.loads(results.keep_pictures(tmp_path, Datasets(), lists).read_text())
    (one,) = kept["lists"]
    assert one["query"]["name"] == "1.jpg"
    # The gallery's junk is not counted among its rows.
    assert [x["name"] for x in one["found"]] == ["4.jpg", "3.jpg"]
    assert [(x["identity"], x["camera"], x["correct"]) for x in one["found"]] == [
        (2, 5, True),
        (1, 4, False),
    ]
    picture = Image.open(io.BytesIO(b64decode(one["query"]["jpeg"])))
    assert picture.size == (32, 128)
    assert kept["parts"] == []
