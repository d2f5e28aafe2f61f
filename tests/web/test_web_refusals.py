"""What the page answers to those who ask badly."""

import asyncio
import io
import json
import zlib

import numpy as np
import pytest
from page_crops import LOOPBACK_URL, NAMES
from PIL import Image
from starlette.testclient import TestClient

from fgsam_jax.retrieval.rows import row_id
from fgsam_jax.web import images
from fgsam_jax.web.images import MOST_BYTES

ONE, OTHER = row_id(NAMES[0]), row_id(NAMES[1])
NOWHERE = "00000000-0000-0000-0000-000000000000"


def file(form, size=(16, 32), mode="RGB"):
    random = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(random).convert(mode).save(buffer, form)
    return buffer.getvalue()


def bomb(width, height):
    """A PNG that says it is large and holds little."""

    def chunk(kind, data):
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


PNG, JPEG = file("PNG"), file("JPEG")
SEARCH, COMPARE = "/api/search", f"/api/compare?match={OTHER}"

FILES = {
    "nothing": b"",
    "a byte": b"\xff",
    "text": b"a person in a red top",
    "a page": b"<!DOCTYPE html><script>alert(1)</script>",
    "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a program": b"\x7fELF" + bytes(100),
    "an archive": b"PK\x03\x04" + bytes(100),
    "PostScript": b"%!PS-Adobe-3.0\nshowpage\n",
    "a PDF": b"%PDF-1.7\n",
    "a GIF": file("GIF", mode="P"),
    "a TIFF": file("TIFF"),
    "a WebP": file("WEBP"),
    "a JPEG's beginning": JPEG[: len(JPEG) // 2],
    "a JPEG's first bytes": JPEG[:4],
    "a JPEG without its beginning": JPEG[20:],
    "a PNG's beginning": PNG[: len(PNG) // 2],
    "a PNG's signature": PNG[:8],
    "a PNG with a broken row": PNG[:60] + bytes(20) + PNG[80:],
    "a PNG of no pixels": bomb(0, 0),
    "a PNG of 10^10 pixels": bomb(100_000, 100_000),
    "a PNG of 2^26 + 8192 pixels": bomb(8192, 8193),
    "a BMP of a negative width": b"BM" + bytes(16) + (-5).to_bytes(4, "little", signed=True),
    "a form": b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + PNG + b"\r\n--x--",
    "compressed": zlib.compress(PNG),
}
TYPE = {"Content-Type": "image/png"}
OTHERS = {
    # of the files
    "too large": ("POST", SEARCH, TYPE, bytes(MOST_BYTES + 1), 413),
    "far too large": ("POST", COMPARE, TYPE, bytes(4 * MOST_BYTES), 413),
    "a form's type": ("POST", SEARCH, {"Content-Type": "multipart/form-data"}, PNG, 415),
    "no type": ("POST", SEARCH, {}, PNG, 415),
    "JSON": ("POST", SEARCH, {"Content-Type": "application/json"}, b"{}", 415),
    "a file to compare that is none": ("POST", COMPARE, TYPE, b"none", 415),
    # ways
    "PUT": ("PUT", SEARCH, TYPE, PNG, 405),
    "DELETE": ("DELETE", f"/crop/{ONE}", {}, b"", 405),
    "PATCH": ("PATCH", SEARCH, TYPE, PNG, 405),
    "OPTIONS": ("OPTIONS", SEARCH, {}, b"", 405),
    "a file to the page": ("POST", "/", TYPE, PNG, 405),
    "a file to a crop": ("POST", f"/crop/{ONE}", TYPE, PNG, 405),
    "a file to what is told": ("POST", "/api/about", TYPE, PNG, 405),
    "an invented way": ("BREW", SEARCH, {}, b"", 405),
    # paths
    "no address": ("GET", "/nowhere", {}, b"", 404),
    "a path for a crop": ("GET", "/crop/secret.png", {}, b"", 404),
    "a path upward": ("GET", "/crop/../../secret.png", {}, b"", 404),
    "an encoded path upward": ("GET", "/crop/%2e%2e%2fsecret.png", {}, b"", 404),
    "twice encoded": ("GET", "/crop/%252e%252e%252fsecret.png", {}, b"", 404),
    "to the package": ("GET", "/..%2fapp.py", {}, b"", 404),
    "to the system": ("GET", "//etc/passwd", {}, b"", 404),
    "by backslashes": ("GET", "/..%5c..%5capp.py", {}, b"", 404),
    "a zero byte": ("GET", "/page.js%00.png", {}, b"", 404),
    "a very long name": ("GET", "/" + "a" * 5000, {}, b"", 404),
    "a crop that is not there": ("GET", f"/crop/{NOWHERE}", {}, b"", 404),
    "a query that is not there": ("GET", f"{SEARCH}?query={NOWHERE}", {}, b"", 404),
    "a query by path": ("GET", f"{SEARCH}?query=../secret.png", {}, b"", 404),
    "a query of a name": ("GET", f"{SEARCH}?query={NAMES[0]}", {}, b"", 404),
    "a match that is not there": ("POST", f"/api/compare?match={NOWHERE}", TYPE, PNG, 404),
    "no match": ("POST", "/api/compare", TYPE, PNG, 404),
    "no query": ("GET", COMPARE, {}, b"", 404),
    # what is asked for
    "no crops": ("GET", f"{SEARCH}?k=0", {}, b"", 400),
    "too many": ("GET", f"{SEARCH}?k=101", {}, b"", 400),
    "a number too long": ("GET", f"{SEARCH}?k={'9' * 5000}", {}, b"", 400),
    "no number": ("GET", f"{SEARCH}?k=ten", {}, b"", 400),
    "another script's number": ("GET", f"{SEARCH}?k=²", {}, b"", 400),
    "no time": ("GET", f"{SEARCH}?since=yesterday", {}, b"", 400),
    "infinity": ("POST", f"{SEARCH}?until=inf", TYPE, PNG, 400),
    "an unknown name": ("GET", f"{SEARCH}?from=2026-01-02", {}, b"", 400),
    "an unknown name with a file": ("POST", f"{COMPARE}&cam=1", TYPE, PNG, 400),
    "a match to a search": ("GET", f"{SEARCH}?match={OTHER}", {}, b"", 400),
    "a re-ranking that is none": ("GET", f"{SEARCH}?re_rank=true", {}, b"", 400),
    "unknown words": ("GET", f"{SEARCH}?words=umbrella", {}, b"", 400),
    "a camera too long": ("GET", f"{SEARCH}?camera={'c' * 2000}", {}, b"", 400),
    # who asks
    "another name": ("GET", "/", {"Host": "evil.example"}, b"", 421),
    "another name with our port": ("GET", SEARCH, {"Host": "evil.example:8000"}, b"", 421),
    "a name like ours": ("GET", "/", {"Host": "localhost.evil.example"}, b"", 421),
    "a user of that name": ("GET", "/", {"Host": "localhost@evil.example"}, b"", 421),
    "no name": ("GET", "/", {"Host": ""}, b"", 421),
    "a broken address": ("GET", "/", {"Host": "[::1"}, b"", 421),
    "from another site": ("POST", SEARCH, {**TYPE, "Origin": "http://evil.example"}, PNG, 403),
    "from another port": ("POST", SEARCH, {**TYPE, "Origin": "http://127.0.0.1:9"}, PNG, 403),
    "from a sandbox": ("POST", SEARCH, {**TYPE, "Origin": "null"}, PNG, 403),
    "told by the browser": ("POST", SEARCH, {**TYPE, "Sec-Fetch-Site": "cross-site"}, PNG, 403),
}  # fmt: skip
CASES = OTHERS | {name: ("POST", SEARCH, TYPE, content, 415) for name, content in FILES.items()}


@pytest.fixture(scope="module")
def client(page):
    return TestClient(page.application(), base_url=LOOPBACK_URL, raise_server_exceptions=False)


def files_of(folder):
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def check(answer, status):
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert not sentence[0].islower()
    assert sentence.endswith(".")
    assert len(sentence.splitlines()) == 1
    assert 10 < len(sentence) < 700
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", CASES)
def test_a_bad_request_is_refused_in_a_sentence_and_the_server_goes_on(
    name, client, crops, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = files_of(crops.parent)
    method, url, headers, content, status = CASES[name]
    check(client.request(method, url, headers=headers, content=content), status)
    assert files_of(crops.parent) == before
    assert files_of(tmp_path) == {}
    assert client.get(f"{SEARCH}?query={ONE}&k=1").status_code == 200


def test_a_person_is_refused_on_a_page_that_shows_and_does_not_run_what_was_sent(client):
    headers = {"Accept": "text/html"}
    answer = client.get(f"{SEARCH}?words=<script>alert(1)</script>", headers=headers)
    assert answer.status_code == 400
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text
    assert "404 Not Found" in client.get("/nowhere", headers=headers).text


def test_names_of_this_machine_are_answered_with_any_port_and_any_name_if_so_asked(page, client):
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:9000", "[::1]:8000"):
        assert client.get("/api/about", headers={"Host": host}).status_code == 200
    open_to_all = TestClient(page.application(None), base_url="http://gallery.example")
    assert open_to_all.get("/api/about").status_code == 200


def test_the_pages_own_questions_are_answered(client):
    own = {**TYPE, "Origin": LOOPBACK_URL, "Sec-Fetch-Site": "same-origin"}
    assert client.post(SEARCH, content=PNG, headers=own).status_code == 200


def test_a_bug_is_told_in_a_sentence_without_its_details(page, client, monkeypatch):
    monkeypatch.setattr(page, "_find", lambda *_: 1 / 0)
    check(client.get(SEARCH), 500)
    assert "division" not in client.get(SEARCH).text


def pieces(*messages):
    """An answer to a request whose body comes in pieces; None: no more comes."""
    waiting, answer = list(messages), []

    async def receive():
        if waiting[0] is None:
            await asyncio.sleep(60)
        return waiting.pop(0)

    async def send(message):
        answer.append(message)

    async def ask(application):
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": SEARCH, "raw_path": SEARCH.encode(), "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")],
        }  # fmt: skip
        await application(scope, receive, send)
        return answer[0]["status"], json.loads(answer[1]["body"])["error"]

    return ask


def body(content, more=True):
    return {"type": "http.request", "body": content, "more_body": more}


def test_a_file_of_unknown_length_is_read_no_further_than_allowed(page):
    ask = pieces(*[body(bytes(2**20))] * 65, None)
    status, sentence = asyncio.run(ask(page.application()))
    assert (status, sentence) == (413, "A file of at most 8 MB is taken.")


def test_a_file_that_does_not_come_is_not_waited_for(page, monkeypatch):
    monkeypatch.setattr(images, "_SECONDS", 0.05)
    status, sentence = asyncio.run(pieces(body(PNG[:9]), None)(page.application()))
    assert (status, sentence) == (408, "The file did not come in 0.05 seconds.")


def test_who_goes_away_leaves_no_place_taken(page):
    gone, before = {"type": "http.disconnect"}, page._inside
    status, _ = asyncio.run(pieces(body(PNG[:9]), gone)(page.application()))
    assert status == 400
    assert page._inside == before
