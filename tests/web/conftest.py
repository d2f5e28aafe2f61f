"""A page over a small gallery of random crops, by a model of random weights."""

from pathlib import Path

import numpy as np
import pytest
import tiny
from page_crops import CAMERAS, NAMES, THRESHOLD, TIMES
from PIL import Image
from tiny import HEIGHT, WIDTH

from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.web.app import Page


@pytest.fixture(scope="session")
def model():
    info = CheckpointInfo(tiny.config(Path("unused")), "full", tiny.PEOPLE, MARKET1501)
    return Embedder(info, tiny.numpy_variables(tiny.model("fgsam")))


@pytest.fixture(scope="session")
def crops(tmp_path_factory):
    """A folder of crops; beside them lies a file that no page may show."""
    root = tmp_path_factory.mktemp("page") / "crops"
    random = np.random.default_rng(0)
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    Image.fromarray(pixels).save(root.parent / "secret.png")
    return root


@pytest.fixture(scope="session")
def gallery(model, crops):
    with Gallery.open(crops.parent / "people", model, create=True) as found:
        rows = model.describe([crops / name for name in NAMES])
        found.add(NAMES, rows, cameras=CAMERAS, times=TIMES, words=[["gate"]] * 12)
        found.note(threshold=THRESHOLD)
        yield found


@pytest.fixture(scope="session")
def page(gallery, model, crops):
    found = Page(gallery, model, crops)
    yield found
    found.close()
