"""What the page answers, to those who ask well."""

import base64
import io
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from page_crops import LOOPBACK_URL, NAMES, THRESHOLD
from PIL import Image
from starlette.testclient import TestClient

from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.answers import search_reranked
from fgsam_jax.retrieval.comparison import compare
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.rows import row_id
from fgsam_jax.retrieval.threshold import Threshold
from fgsam_jax.web import app as web
from fgsam_jax.web.app import Page

STATIC = Path(web.__file__).parent / "static"
PNG = {"Content-Type": "image/png"}


@pytest.fixture
def client(page):
    return TestClient(page.application(), base_url=LOOPBACK_URL)


def sent(client, crops, name, where=""):
    content = (crops / name).read_bytes()
    return client.post(f"/api/search?{where}", content=content, headers=PNG).json()


def shown(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return image.size


def test_the_page_tells_what_its_gallery_holds(client):
    about = client.get("/api/about").json()
    assert about["crops"] == 12
    assert about["cameras"] == {"1": 4, "2": 4, "3": 4}
    assert about["timed"] is True
    assert about["threshold"] == THRESHOLD["distance"]
    assert about["attributes"]["gender"] == ["male", "female"]
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")


def test_a_file_that_is_sent_finds_what_the_functions_find(client, crops, model, gallery):
    found = sent(client, crops, NAMES[4], "k=5")
    rows = gallery.search(model.embed(crops / NAMES[4]), 5)[0]
    assert [x["name"] for x in found["found"]] == [x.name for x in rows]
    distances = [x["distance"] for x in found["found"]]
    np.testing.assert_allclose(distances, [x.distance for x in rows], atol=1e-3)
    first = found["found"][0]
    assert first["name"] == NAMES[4]
    assert first["same"] is True
    assert (first["camera"], first["time"], first["words"]) == (
        "2", "2026-01-02 03:04:04", ["gate"])  # fmt: skip
    assert found["nobody"] is False
    assert shown(found["query"]["picture"]) == (tiny.WIDTH, tiny.HEIGHT)


def test_a_crop_of_the_gallery_finds_the_others(client, gallery):
    id = row_id(NAMES[0])
    found = client.get(f"/api/search?query={id}&k=100").json()
    assert found["query"]["name"] == NAMES[0]
    assert sorted(x["name"] for x in found["found"]) == sorted(NAMES[1:])
    distances = [x["distance"] for x in found["found"]]
    assert distances == sorted(distances)
    assert found["nobody"] == (distances[0] > THRESHOLD["distance"])


def test_filters_hold_with_and_without_a_query(client, crops, gallery, model):
    where = "camera=1&camera=2&since=2026-01-02T03:04:03&until=2026-01-02T03:04:09"
    kept = {NAMES[n] for n in (3, 4, 6, 7, 9)}
    assert {x["name"] for x in client.get(f"/api/search?{where}").json()["found"]} == kept
    assert {x["name"] for x in sent(client, crops, NAMES[0], where)["found"]} == kept
    asked = client.get("/api/search?words=woman, umbrella").json()
    assert asked["understood"] == {"gender": "female"}
    assert asked["unknown"] == ["umbrella"]
    likely = [x.name for x in gallery.rows() if x.attributes["gender"]["female"] > 0.5]
    assert {x["name"] for x in asked["found"]} == set(likely)
    assert client.get("/api/search?camera=9").json()["found"] == []


def test_re_ranking_is_that_of_the_command_line(client, crops, gallery, model):
    found = sent(client, crops, NAMES[2], "re_rank=1&k=6")["found"]
    rows = search_reranked(gallery, model.embed(crops / NAMES[2]), 6)[0]
    assert [x["name"] for x in found] == [x.name for x in rows]


def test_the_nearest_crop_decides_on_nobody_where_re_ranking_puts_others_first(
    client, crops, monkeypatch
):
    far = sent(client, crops, NAMES[0], "k=100")["found"][-1]
    assert far["distance"] > THRESHOLD["distance"]

    def others_first(gallery, rows, k, **where):
        return [[x for x in gallery.search(rows, 100, **where)[0] if x.name == far["name"]]]

    monkeypatch.setattr("fgsam_jax.web.app.search_reranked", others_first)
    answer = sent(client, crops, NAMES[0], "re_rank=1&k=1")
    assert ([x["name"] for x in answer["found"]], answer["nobody"]) == ([far["name"]], False)


def test_nobody_is_told_where_no_crop_is_within_the_threshold(client, crops):
    assert sent(client, crops, NAMES[0], "camera=2")["nobody"] is True
    assert client.get("/api/search").json()["nobody"] is None
    empty = sent(client, crops, NAMES[0], "camera=gate")
    assert (empty["found"], empty["nobody"]) == ([], None)
    assert empty["nothing"] == "no crop passes the filters; cameras: 1, 2, 3"


def test_a_name_that_is_not_known_is_refused_with_those_that_are(client):
    error = client.get("/api/search?from=2026-01-02").json()["error"]
    assert error == ("'from' is unknown; known are query, k, re_rank, camera, since, until, words.")


def test_a_match_is_explained_as_the_command_line_does(client, crops, model):
    first, other = row_id(NAMES[1]), row_id(NAMES[2])
    found = client.get(f"/api/compare?query={first}&match={other}").json()
    two = model.describe([crops / NAMES[1], crops / NAMES[2]])
    expected = compare(two, model.info.attributes, Threshold.from_dict(THRESHOLD))
    assert found["distance"] == pytest.approx(expected.distance, abs=1e-5)
    assert found["verdict"].startswith("no match: distance")
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1)
    squares = [part["squared_distance"] for part in found["parts"]]
    assert np.mean(squares) == pytest.approx(found["distance"] ** 2, abs=1e-5)
    assert [part["name"] for part in found["parts"]][-1] == "whole body"
    assert {len(part["maps"]) for part in found["parts"]} == {2}
    assert shown(found["parts"][0]["maps"][1])[1] == 256
    assert len(found["attributes"]) == len(model.info.attributes)
    content = (crops / NAMES[1]).read_bytes()
    posted = client.post(f"/api/compare?match={other}", content=content, headers=PNG).json()
    assert posted == found


def test_a_picture_is_small_and_of_a_row_of_the_gallery(client, crops, gallery, model):
    large = crops / "large.png"
    Image.new("RGB", (3000, 1500)).save(large)
    gallery.add(["large.png", "../secret.png"], model.describe([large, large]))
    try:
        with Image.open(io.BytesIO(client.get(f"/crop/{row_id('large.png')}").content)) as image:
            assert (image.format, image.size) == ("JPEG", (512, 256))
        outside = client.get(f"/crop/{row_id('../secret.png')}")
        assert outside.status_code == 404
        assert str(crops.parent) not in outside.text
    finally:
        gallery.delete(["large.png", "../secret.png"])


def test_who_asks_at_once_shares_batches_and_gets_an_own_answer(page, client, crops, monkeypatch):
    sizes, begun, held = [], threading.Event(), threading.Event()
    embed = page._embedder.embed
    monkeypatch.setattr(page._embedder, "embed", lambda x: (sizes.append(len(x)), embed(x))[1])
    page._worker._thread.submit(lambda: (begun.set(), held.wait(30)))
    begun.wait(30)
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(sent, client, crops, name, "k=1") for name in NAMES]
        until = time.monotonic() + 60
        while len(page._worker._waiting) < len(NAMES) and time.monotonic() < until:
            time.sleep(0.01)
        held.set()
        found = [answer.result()["found"][0]["name"] for answer in answers]
    assert found == NAMES
    assert sizes == [8, 4]


def test_more_than_are_admitted_are_asked_to_come_again(page, client, crops, monkeypatch):
    monkeypatch.setattr(page, "_inside", web.AT_ONCE)
    answer = client.get("/api/search")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "ask again" in answer.json()["error"]


def test_no_request_waits_for_a_compilation(client, crops):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
    )
    jax.jit(lambda x: x * 3.25)(1.0)
    assert compiled, "this JAX tells nothing of compilations"
    compiled.clear()
    sent(client, crops, NAMES[0])
    sent(client, crops, NAMES[0], "re_rank=1&camera=2")
    content = (crops / NAMES[1]).read_bytes()
    client.post(f"/api/compare?match={row_id(NAMES[2])}", content=content, headers=PNG)
    client.get(f"/api/compare?query={row_id(NAMES[1])}&match={row_id(NAMES[2])}")
    assert compiled == []


def test_a_model_without_parts_and_crops_without_cameras_have_a_page(crops, tmp_path):
    info = CheckpointInfo(tiny.config(Path("x"), phases=(tiny.BASE,)), "base", tiny.PEOPLE, ())
    model = Embedder(info, tiny.numpy_variables(tiny.model("baseline")))
    with Gallery.open(tmp_path / "plain", model, create=True) as gallery:
        gallery.add(NAMES[:3], model.describe([crops / name for name in NAMES[:3]]))
        page = Page(gallery, model, crops)
        client = TestClient(page.application(), base_url=LOOPBACK_URL)
        about = client.get("/api/about").json()
        first, other = (row_id(name) for name in NAMES[:2])
        found = client.get(f"/api/search?query={first}").json()
        why = client.get(f"/api/compare?query={first}&match={other}").json()
        page.close()
    assert (about["cameras"], about["timed"], about["threshold"]) == ({}, False, None)
    assert {x["name"] for x in found["found"]} == set(NAMES[1:3])
    assert found["nobody"] is None
    assert [(part["name"], part["maps"]) for part in why["parts"]] == [("whole body", [])]
    assert why["attributes"] == []


def test_a_gallery_whose_images_are_elsewhere_has_no_page(gallery, model, tmp_path):
    with pytest.raises(InputError, match="pass --root with the folder"):
        Page(gallery, model, tmp_path)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    text = {path.name: path.read_text() for path in STATIC.iterdir()}
    assert set(text) == {"index.html", "page.css", "page.js", "view.js"}
    assert not re.search(r"(https?:)?//[\w.]+\.\w", "".join(text.values()))
    tags = Tags()
    tags.feed(text["index.html"])
    for tag, attributes in tags.seen:
        assert tag != "style"
        assert tag != "script" or attributes["src"] == "page.js"
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    script = text["page.js"] + text["view.js"]
    ids = {attributes["id"] for _, attributes in tags.seen if "id" in attributes}
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= ids
    assert not re.search(r"innerHTML|insertAdjacentHTML|eval\(", script)
