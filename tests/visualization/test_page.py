from html.parser import HTMLParser

import pytest

from fgsam_jax.visualization import page

VOID = {"meta", "img", "br"}


class Seen(HTMLParser):
    """The elements and texts of a page, each end where its beginning asks for it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.links = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


HOSTILE = "</style><script>alert(1)</script>\"'&amp;\x1b[31m\ud800\x00é"


def test_texts_of_users_files_stay_texts():
    shown = page.document(
        HOSTILE,
        page.section(HOSTILE, page.element("p", HOSTILE, title=HOSTILE)),
        page.table([["", HOSTILE], [HOSTILE, HOSTILE]], caption=HOSTILE),
        page.picture("AAAA", HOSTILE, [HOSTILE, "second"], "right"),
    )
    seen = Seen(shown)
    assert shown.isascii()
    assert not {"script", "link", "iframe"} & set(seen.tags)
    assert seen.tags.count("style") == 1
    readable = "</style><script>alert(1)</script>\"'&amp;\\x1b[31m\\ud800\\x00é"
    assert seen.texts.count(readable) == 9
    assert seen.links == ["data:image/jpeg;base64,AAAA"]


def test_children_stay_in_order_with_texts_between_them():
    made = page.element("p", "a", page.element("b", "c"), None, "d", "e")
    assert "".join(made.itertext()) == "acde"


@pytest.mark.parametrize(("share", "percent"), [(None, 0), (0.5, 35), (1, 70)])
def test_a_cell_is_shaded_by_its_share(share, percent):
    made = page.heat_table(["", "x"], ["row"], [[share]], [["text"]])
    assert made.find(".//tbody/tr/td").get("style").endswith(f"/ {percent}%)")
