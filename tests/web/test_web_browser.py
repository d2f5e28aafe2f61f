"""The page in a real browser."""

import threading
import time

import browser
import pytest
import uvicorn
from page_crops import NAMES

from fgsam_jax.retrieval.rows import row_id

pytestmark = pytest.mark.skipif(
    browser.program() is None, reason=f"none of {', '.join(browser.PROGRAMS)} is installed"
)
ONE, OTHER = row_id(NAMES[0]), row_id(NAMES[1])
QUIET = "!document.body.hasAttribute('aria-busy')"
TILES = "[...document.querySelectorAll('#found a')].map(x => x.title)"
FOCUS = "document.activeElement.id || document.activeElement.dataset.id"


@pytest.fixture(scope="module")
def address(page):
    server = uvicorn.Server(
        uvicorn.Config(page.application(), port=0, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as found:
        found.size(1280, 900)
        yield found


def test_an_address_shows_a_match_with_its_parts_and_maps_and_nothing_is_refused(tab, address):
    tab.open(f"{address}/?query={ONE}&match={OTHER}")
    tab.wait("!document.getElementById('match').hidden")
    assert tab.run("document.getElementById('verdict').textContent").startswith(
        "No match: distance"
    )
    loaded = "[...document.images].every(x => x.complete && x.naturalWidth)"
    tab.wait(f"{QUIET} && {loaded}")
    assert tab.run("document.querySelectorAll('#parts li').length") == 7
    assert tab.run("document.querySelectorAll('#parts .maps img').length") == 14
    assert tab.run("[...document.images].every(x => x.alt)")
    shares = "[...document.querySelectorAll('.bar span')].map(x => parseFloat(x.style.width))"
    assert sum(tab.run(shares)) == pytest.approx(100, abs=0.01)
    assert len(tab.run(TILES)) == 11
    assert tab.told == []


def test_all_is_done_by_keyboard(tab, address, crops):
    tab.open(address)
    tab.wait(f"{QUIET} && {TILES}.length == 12")
    tab.choose("#file", crops / NAMES[4])
    tab.wait(f"{QUIET} && {TILES}[0] == '{NAMES[4]}'")
    tab.run("document.querySelectorAll('#found a')[1].focus()")
    tab.press("Enter")
    tab.wait("!document.getElementById('match').hidden")
    assert tab.run(FOCUS) == "match-title"
    second = tab.run("document.querySelectorAll('#found a')[1].dataset.id")
    assert f"query=file&match={second}" in tab.run("location.href")
    tab.press("Escape")
    tab.wait("document.getElementById('match').hidden")
    assert tab.run(FOCUS) == second
    tab.run("document.querySelector('[name=camera][value=\"2\"]').focus()")
    tab.press(" ")
    tab.wait(f"{QUIET} && {TILES}.length == 4")
    assert set(tab.run(TILES)) == {name for name in NAMES if name.startswith("cam2")}
    tab.run("history.back()")
    tab.wait(f"{QUIET} && {TILES}.length == 12")
    assert tab.told == []


def test_a_dropped_file_that_is_no_image_and_a_lost_one_are_told(tab, address):
    tab.open(f"{address}/?query=file")
    tab.wait("document.getElementById('error').textContent.includes('drop it again')")
    tab.run("""
        const data = new DataTransfer();
        data.items.add(new File(["no image"], "a.jpg", { type: "image/jpeg" }));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    """)
    tab.wait("document.getElementById('error').textContent.includes('Put a whole JPEG')")
    assert tab.run(TILES) == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_page(tab, address, width):
    tab.size(width, 800)
    tab.open(f"{address}/?query={ONE}&match={OTHER}")
    tab.wait("!document.getElementById('match').hidden")
    assert tab.run("document.documentElement.scrollWidth") <= width
