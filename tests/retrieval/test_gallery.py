import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

import fgsam_jax
from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.retrieval import answers, crop_lists, gallery, server_store
from fgsam_jax.retrieval.description import Description
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.people import keep_threshold, known_of
from fgsam_jax.retrieval.rerank import rerank
from fgsam_jax.retrieval.rows import row_id

# What the client says where it stands for a server.
pytestmark = pytest.mark.filterwarnings("ignore:(Local mode|Payload indexes):UserWarning")

ATTRIBUTES = MARKET1501[2:6]  # hat, age, backpack, upper_colour
BRANCHES = {"head": slice(0, 4), "legs": slice(4, 8), "plenary": slice(8, 16)}


def model(weight=0.0):
    """What a gallery asks of an embedder."""
    info = CheckpointInfo(tiny.config(Path("unused")), "full", tiny.PEOPLE, ATTRIBUTES)
    return SimpleNamespace(info=info, variables=lambda: {"w": np.full(3, weight)})


def described(count, seed=0):
    random = np.random.default_rng(seed)
    parts = [random.normal(size=(count, x.stop - x.start)) for x in BRANCHES.values()]
    parts = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in parts]
    answers = {x.name: random.dirichlet(np.ones(len(x.classes)), count) for x in ATTRIBUTES}
    return Description(
        (np.concatenate(parts, 1) / len(parts) ** 0.5).astype(np.float32),
        BRANCHES,
        {name: x.astype(np.float32) for name, x in answers.items()},
        {"head": random.random(count).astype(np.float32)},
    )


COUNT = 300
ROWS = described(COUNT)
NAMES = [f"crops/{n}.jpg" for n in range(COUNT)]
CAMERAS = [n % 4 + 1 for n in range(COUNT)]
TIMES = [1000.0 * n for n in range(COUNT)]
WORDS = [["gate"] * (n % 3 == 0) + ["tall person"] * (n % 2 == 0) for n in range(COUNT)]
QUERIES = described(5, seed=1).descriptor


def filled(place, url):
    found = Gallery.open(place, model(), create=True, url=url)
    found.add(NAMES, ROWS, cameras=CAMERAS, times=TIMES, words=WORDS)
    return found


@pytest.fixture
def one_server(monkeypatch):
    """Galleries opened in a test see one server, which stays."""
    client = server_store.connected(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)
    monkeypatch.setattr(gallery, "connected", lambda url: client)


@pytest.fixture(params=["folder", "server"])
def place(request, tmp_path):
    if request.param == "folder":
        return tmp_path / "people", None
    request.getfixturevalue("one_server")
    return "people", "http://stands.for.one:6333"


def nearest(kept, rows=QUERIES, columns=slice(None), k=10):
    """Names and distances by NumPy of the crops kept, bool [n]."""
    found = []
    for row in rows:
        distances = np.linalg.norm(ROWS.descriptor[:, columns] - row[columns], axis=1)
        order = [n for n in np.argsort(distances) if kept[n]][:k]
        found.append(([NAMES[n] for n in order], distances[order]))
    return found


def check(lists, expected, scale=1.0):
    for found, (names, distances) in zip(lists, expected, strict=True):
        assert [x.name for x in found] == names
        np.testing.assert_allclose([x.distance for x in found], distances * scale, atol=2e-6)


EVERY = np.ones(COUNT, bool)
LIKELY_RED = np.argmax(ROWS.attributes["upper_colour"], 1) == 2
FILTERS = {
    "none": ({}, EVERY),
    "camera": ({"camera": 3}, np.array(CAMERAS) == 3),
    "cameras": ({"camera": ["1", 4]}, np.isin(CAMERAS, [1, 4])),
    "since": ({"since": 50_000}, np.array(TIMES) >= 50_000),
    "span": (
        {"since": "1970-01-01T10:00", "until": datetime(1970, 1, 2, tzinfo=UTC)},
        (np.array(TIMES) >= 36_000) & (np.array(TIMES) <= 86_400),
    ),
    "words": ({"words": ["gate", "tall person"]}, np.arange(COUNT) % 6 == 0),
    "attributes": ({"attributes": {"upper_colour": "red"}}, LIKELY_RED),
    "all": (
        {"camera": 2, "until": 2e5, "words": ["gate"]},
        (np.array(CAMERAS) == 2) & (np.array(TIMES) <= 2e5) & (np.arange(COUNT) % 3 == 0),
    ),
    "nothing": ({"camera": "5' OR 1=1"}, ~EVERY),
}


def test_a_search_finds_what_numpy_finds_under_every_filter(place):
    with filled(*place) as found:
        assert len(found) == COUNT
        for where, kept in FILTERS.values():
            check(found.search(QUERIES, 10, **where), nearest(kept))
            listed = [row.name for row in found.rows(**where)]
            assert sorted(listed) == sorted(np.array(NAMES)[kept])


def test_branches_alone_rank_by_their_mean_squared_distance(place):
    with filled(*place) as found:
        two = np.r_[0:4, 8:16]
        lists = found.search(QUERIES, 10, branches=["head", "plenary"])
        check(lists, nearest(EVERY, columns=two), scale=(3 / 2) ** 0.5)
        with pytest.raises(InputError, match="branches are some of head, legs, plenary"):
            found.search(QUERIES, branches=["tail"])


def test_a_crop_is_found_by_its_id_and_cameras_are_counted(place):
    with filled(*place) as found:
        row = found.by_id(row_id(NAMES[7]), descriptor=True)
        assert (row.name, row.camera, row.id) == (NAMES[7], "4", row_id(NAMES[7]))
        np.testing.assert_allclose(row.descriptor, ROWS.descriptor[7], atol=1e-6)
        assert found.by_id(row_id("elsewhere.jpg")) is None
        assert found.cameras() == dict.fromkeys("1234", COUNT // 4)


def test_folder_and_server_give_equal_lists_and_scores(tmp_path, one_server):
    with filled(tmp_path / "people", None) as one, filled("people", "http://x") as other:
        for a, b in zip(one.search(QUERIES, 30), other.search(QUERIES, 30), strict=True):
            assert [x.name for x in a] == [x.name for x in b]
            distances = [[x.distance for x in found] for found in (a, b)]
            np.testing.assert_allclose(*distances, atol=1e-6)
        wanted = {"hat": "yes", "age": "old"}
        assert [x.name for x in one.who(wanted)] == [x.name for x in other.who(wanted)]
        assert one.about == other.about


def test_several_processes_fill_one_collection_of_one_model(one_server):
    url = "http://stands.for.one:6333"
    one, other, third = (Gallery.open("people", model(x), create=True, url=url) for x in (0, 0, 1))
    one.add(NAMES[:2], described(2))
    other.add(NAMES[1:4], described(3))  # it was opened before there was a collection
    assert len(one) == len(other) == 4
    with pytest.raises(InputError, match="another checkpoint"):
        third.add(NAMES, ROWS)
    assert len(one) == 4


def test_a_row_comes_back_as_it_was_added(place):
    with filled(*place):
        pass
    with Gallery.open(place[0], url=place[1]) as found:
        row = next(x for x in found.rows(descriptors=True) if x.name == NAMES[6])
    assert (row.camera, row.time, row.words) == ("3", 6000.0, ("gate", "tall person"))
    np.testing.assert_array_equal(row.descriptor, ROWS.descriptor[6])
    colours = dict(zip(ATTRIBUTES[3].classes, ROWS.attributes["upper_colour"][6], strict=True))
    assert row.attributes["upper_colour"] == pytest.approx(colours, abs=1e-5)
    assert row.visibility["head"] == pytest.approx(ROWS.visibility["head"][6])


def test_adding_again_replaces_and_deleting_leaves_out(place):
    with filled(*place) as found:
        found.add(NAMES[:2], described(2, seed=9), cameras=[7, 7])
        assert len(found) == COUNT
        assert {x.name for x in found.rows(camera=7)} == set(NAMES[:2])
        assert found.delete([NAMES[0], "never/there.jpg"]) == 1
        assert found.known(NAMES[:3]) == set(NAMES[1:3])
    with Gallery.open(place[0], url=place[1]) as found:
        assert len(found) == COUNT - 1


def test_attributes_in_words_rank_by_their_joint_probability(place):
    wanted = {"hat": "yes", "upper_colour": "red"}
    joint = ROWS.attributes["hat"][:, 1] * ROWS.attributes["upper_colour"][:, 2]
    with filled(*place) as found:
        rows = found.who(wanted, 20, camera=[1, 2])
        kept = [n for n in np.argsort(-joint) if CAMERAS[n] < 3][:20]
        assert [x.name for x in rows] == [NAMES[n] for n in kept]
        np.testing.assert_allclose([x.probability for x in rows], joint[kept], rtol=1e-4)
        for wrong in ({}, {"hat": "red"}, {"socks": "yes"}):
            with pytest.raises(InputError, match="hat no, yes"):
                found.who(wrong)


def test_approximate_search_finds_nearly_all_and_exact_stays_exact(tmp_path):
    with filled(tmp_path / "people", None) as found:
        found.optimize()
        check(found.search(QUERIES, 10), nearest(EVERY))
        near = [{x.name for x in some} for some in found.search(QUERIES, 10, exact=False)]
        shared = sum(len(a & set(b)) for a, (b, _) in zip(near, nearest(EVERY), strict=True))
        assert shared >= 45


def test_reranking_in_a_gallery_is_that_of_the_whole(tmp_path):
    with filled(tmp_path / "people", None) as found:
        lists = answers.search_reranked(found, QUERIES, 10)
    expected = np.argsort(rerank(QUERIES, ROWS.descriptor), axis=1, kind="stable")[:, :10]
    assert [[x.name for x in row] for row in lists] == [[NAMES[n] for n in x] for x in expected]


def test_nobody_is_found_beyond_the_threshold_noted(tmp_path):
    with filled(tmp_path / "people", None) as found:
        first = found.search(QUERIES[:1])[0]
        assert answers.nobody(found, first) is None
        found.note(threshold={"distance": first[0].distance - 0.01})
    with Gallery.open(tmp_path / "people") as found:
        assert answers.nobody(found, first)
        found.note(threshold={"distance": first[0].distance + 0.01})
        assert answers.nobody(found, first) is False


def spoilt(**changes):
    fields = dict(vars(described(2)))
    return Description(**{**fields, **changes})


NAN = described(2).descriptor.copy()
NAN[1, 3] = np.nan
WRONG = {
    "the row of b.jpg is not finite": (["a.jpg", "b.jpg"], spoilt(descriptor=NAN), {}),
    "rows of 16 numbers": (
        ["a.jpg", "b.jpg"], spoilt(descriptor=np.ones((2, 15), np.float32)), {},
    ),
    "1 names came with 2 descriptors": (["a.jpg"], described(2), {}),
    "came with 1 cameras": (["a.jpg", "b.jpg"], described(2), {"cameras": [1]}),
    "is no time": (["a.jpg", "b.jpg"], described(2), {"times": ["soon", None]}),
    "has 101 words": (["a.jpg", "b.jpg"], described(2), {"words": [["x"] * 101, []]}),
    "cannot be kept": (["a.jpg", "\udcff.jpg"], described(2), {}),
    "at most 1000 characters": (["a.jpg", "b" * 1001], described(2), {}),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_a_row_is_refused_in_one_line_and_nothing_is_added(message, tmp_path):
    names, description, more = WRONG[message]
    with filled(tmp_path / "people", None) as found:
        with pytest.raises(InputError, match=message) as error:
            found.add(names, description, **more)
        assert "\n" not in str(error.value)
        assert len(found) == COUNT


def test_a_query_of_another_size_or_not_finite_is_refused(tmp_path):
    with filled(tmp_path / "people", None) as found:
        for rows in (QUERIES[:, :8], np.full_like(QUERIES, np.nan)):
            with pytest.raises(InputError, match="needed finite rows of 16 numbers"):
                found.search(rows)


@pytest.mark.parametrize("k", [-1, 0, 10**22, 2.5, True, "3"])
def test_a_number_of_crops_that_cannot_be_is_refused_by_every_search(tmp_path, k):
    with filled(tmp_path / "people", None) as found:
        for search in (
            lambda: found.search(QUERIES, k),
            lambda: found.who({"hat": "yes"}, k),
            lambda: answers.search_reranked(found, QUERIES, k),
        ):
            with pytest.raises(InputError, match=r"k is .*: expected"):
                search()


def test_what_is_known_of_a_gallery_is_what_its_rows_say(place):
    identities = [None, "-1", "0", "anna", "anna", "ben"] + [None] * (COUNT - 6)
    cameras = [n % 4 + 1 if n % 3 else None for n in range(COUNT)]
    times = [float(n) if n % 5 == 0 else None for n in range(COUNT)]
    with Gallery.open(place[0], model(), create=True, url=place[1]) as found:
        found.add(NAMES, ROWS, identities=identities, cameras=cameras, times=times)
        assert known_of(found) == (
            "300 crops: camera of 200, time of 60, person of 5: 2 people, anna and ben"
        )
        assert found.count(camera=2) == sum(x.camera == "2" for x in found.rows())
        assert found.people() == {"-1": 1, "0": 1, "anna": 2, "ben": 1}


def test_what_two_processes_note_on_a_server_is_kept(one_server):
    with filled("people", "http://x") as one, Gallery.open("people", url="http://x") as other:
        other.note(threshold={"distance": 0.5})
        one.note(run="runs/market")
        assert one.about["threshold"] == {"distance": 0.5}
    with Gallery.open("people", url="http://x") as found:
        assert (found.about["run"], found.about["threshold"]["distance"]) == ("runs/market", 0.5)


def test_a_threshold_is_not_kept_for_another_checkpoint(tmp_path):
    with (
        filled(tmp_path / "known", None) as known,
        Gallery.open(tmp_path / "unknown", model(weight=1.0), create=True) as unknown,
    ):
        unknown.add(NAMES, ROWS)
        with pytest.raises(InputError, match="of the same model"):
            keep_threshold(known, 0.1, unknown)
        assert "threshold" not in unknown.about


def test_another_checkpoint_is_refused(place):
    filled(*place).close()
    with pytest.raises(InputError, match="another checkpoint"):
        Gallery.open(place[0], model(weight=1.0), url=place[1])
    with (
        Gallery.open(place[0], url=place[1]) as found,
        pytest.raises(InputError, match="open the gallery with the embedder"),
    ):
        found.add(NAMES, ROWS)


def test_one_process_at_a_time_uses_a_folder(tmp_path):
    with (
        filled(tmp_path / "people", None),
        pytest.raises(InputError, match="another process uses the gallery"),
    ):
        Gallery.open(tmp_path / "people")


def test_a_folder_that_is_no_gallery_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="there is no gallery"):
        Gallery.open(tmp_path)
    with (
        Gallery.open(tmp_path, model(), create=True) as found,
        pytest.raises(InputError, match=r"holds 'thesis.tex' and is no gallery"),
    ):
        found.add(NAMES, ROWS)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', "\x00" * 10])
def test_a_damaged_description_is_told_in_one_line(tmp_path, text):
    filled(tmp_path / "people", None).close()
    (tmp_path / "people" / "gallery.json").write_text(text)
    with pytest.raises(InputError) as error:
        Gallery.open(tmp_path / "people")
    assert "\n" not in str(error.value)
    Path(tmp_path / "people" / "gallery.json").unlink()


def test_names_that_lead_out_of_the_folder_are_never_opened(tmp_path):
    for name in ("../secret.jpg", "/etc/passwd", "a/../../x.jpg"):
        with pytest.raises(InputError, match="is not in"):
            crop_lists.located(name, tmp_path)
    assert crop_lists.located("a/../b.jpg", tmp_path) == tmp_path / "b.jpg"


KILLED = """
import sys
from test_gallery import described, model
from fgsam_jax.retrieval.gallery import Gallery
found = Gallery.open(sys.argv[1], model(), create=True)
for n in range(10**6):
    found.add([f"{n}/{i}.jpg" for i in range(20)], described(20, seed=n), cameras=[n] * 20)
    print(n, flush=True)
"""


def test_a_kill_while_adding_loses_no_acknowledged_row(tmp_path):
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "people")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        acknowledged = [next(child.stdout) for _ in range(5)]
        child.send_signal(signal.SIGKILL)
        acknowledged += list(child.stdout)
    last = int(acknowledged[-1])
    with Gallery.open(tmp_path / "people") as found:
        names = [row.name for row in found.rows()]
    assert {f"{n}/{i}.jpg" for n in range(last + 1) for i in range(20)} <= set(names)
    assert len(names) == len(set(names))


def test_the_package_offers_the_gallery():
    assert fgsam_jax.Gallery is Gallery


@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="QDRANT_URL names no Qdrant server")
def test_a_real_server_gives_what_numpy_finds():
    url, name = os.environ["QDRANT_URL"], f"fgsam_jax_test_{os.getpid()}"
    try:
        with filled(name, url) as found:
            for where, kept in FILTERS.values():
                check(found.search(QUERIES, 10, **where), nearest(kept))
    finally:
        server_store.connected(url).delete_collection(name)


def test_what_a_gallery_says_of_itself_is_plain_json(tmp_path):
    filled(tmp_path / "people", None).close()
    about = json.loads((tmp_path / "people" / "gallery.json").read_text())
    assert about["dim"] == 16
    assert about["branches"]["legs"] == [4, 8]
    assert about["attributes"]["hat"] == ["no", "yes"]
    assert len(about["model"]) == 64
