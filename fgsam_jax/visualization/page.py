"""A page of HTML in one file, without script and with nothing fetched.

Pages are trees of the standard library, which escapes every text when it writes them: names of
classes, paths and titles come from users' files.
"""

from collections.abc import Sequence
from xml.etree import ElementTree

from fgsam_jax.errors import printable

Element = ElementTree.Element
Child = Element | str | None

_LONGEST = 2000  # characters of a text

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --faint: #6b6b6b; --line: #d4d4d4;
  --right: #009e73; --wrong: #d55e00;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b8860b; --c5: #3aa3dd;
  --c6: #7a5195; --c7: #777; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --faint: #a0a0a0; --line: #424242;
    --c0: #4aa8e0; --c1: #f08030; --c2: #2cc59a; --c4: #e0b030; --c6: #b28ad0; --c7: #aaa; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 82rem; color: var(--ink);
  background: var(--paper); font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } p { margin: .4rem 0; max-width: 50rem; }
.faint, figcaption, caption { color: var(--faint); font-size: .85rem; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
caption { text-align: left; } td, th { padding: .15rem .55rem; text-align: right; }
th { font-weight: 600; white-space: nowrap; } thead th { border-bottom: 1px solid var(--line); }
tr > :first-child { text-align: left; padding-left: 0; }
.numbers td { white-space: nowrap; }
.text td, .text th { text-align: left; } .told td { overflow-wrap: anywhere; }
.row { display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; align-items: flex-start; }
.crops { display: flex; flex-wrap: wrap; gap: .3rem; margin: .3rem 0 .9rem; }
figure { margin: 0; } .crops figure { width: 4.6rem; font-size: .75rem; }
.crops img { display: block; width: 100%; border: 4px solid var(--faint); }
.crops .right img { border-color: var(--right); } .crops .wrong img { border-color: var(--wrong); }
.crops .query { margin-right: .8rem; } .crops .plain img { border: 0; }
.crops figcaption { font-size: .72rem; line-height: 1.25; }
.chart { flex: 1 1 20rem; max-width: 36rem; min-width: 0; }
.chart svg { width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 12px; } svg .grid { stroke: var(--line); }
svg .line { fill: none; stroke-width: 2; }
.key { display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .82rem; }
.key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .3rem;
  vertical-align: -.1rem; }
@media (max-width: 40rem) { body { padding: .7rem; font-size: 14px; }
  tbody th { white-space: normal; min-width: 6.5rem; } .crops { gap: .2rem; }
  .crops figure { width: calc((100% - 1rem) / 6); } .crops .query { margin-right: 0; } }
"""


def element(tag: str, *children: Child, **attributes: str) -> Element:
    """An element of a page.

    Args:
      tag: its name.
      children: elements and texts, which are escaped when the page is written; None is left out.
      attributes: by name; an underscore at the end is dropped, others become hyphens.

    Example:
      >>> ElementTree.tostring(element("p", "1 < 2", class_="faint"), encoding="unicode")
      '<p class="faint">1 &lt; 2</p>'
    """
    named = {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items()}
    made = Element(tag, {name: printable(text, 10**6) for name, text in named.items()})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child is not None:
            text = printable(child, _LONGEST)
            if len(made):
                made[-1].tail = (made[-1].tail or "") + text
            else:
                made.text = (made.text or "") + text
    return made


def document(title: str, *body: Child) -> str:
    """A whole page as text, in ASCII: no program can take its encoding for another."""
    head = element("head", element("meta", charset="utf-8"))
    view = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    head.append(element("meta", **view))
    head.append(element("title", title))
    style = Element("style")
    style.text = _STYLE
    head.append(style)
    page = element("html", head, element("body", element("h1", title), *body), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, "us-ascii", "html").decode("ascii")


def section(title: str, *children: Child) -> Element:
    """A part of a page under its own heading."""
    return element("section", element("h2", title), *children)


def table(rows: Sequence[Sequence[str]], *, caption: str = "", kind: str = "") -> Element:
    """Cells under a first row of headings; each row's first cell is a heading too.

    Args:
      rows: of as many cells each.
      caption: above the table.
      kind: "text" for cells to the left, "text told" if the second holds long ones.
    """
    head, *lines = rows
    body = (element("tr", _heading(first, "row"), *_cells(rest)) for first, *rest in lines)
    made = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", *(_heading(cell, "col") for cell in head))),
        element("tbody", *body),
        class_=kind or "numbers",
    )
    return element("div", made, class_="scroll")


def heat_table(
    head: Sequence[str],
    names: Sequence[str],
    shares: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    *,
    caption: str = "",
) -> Element:
    """A matrix whose cells are the darker, the larger their share of 0 to 1 is; None is 0."""
    rows = [list(head), *([name, *row] for name, row in zip(names, texts, strict=True))]
    made = table(rows, caption=caption, kind="heat")
    for line, values in zip(made.findall(".//tbody/tr"), shares, strict=True):
        for cell, share in zip(line.findall("td"), values, strict=True):
            cell.set("style", f"background: rgb(43 123 186 / {70 * (share or 0):.0f}%)")
    return made


def picture(jpeg: str, alt: str, caption: Sequence[str] = (), kind: str = "plain") -> Element:
    """A picture inside the page, with lines below it.

    Args:
      jpeg: its file in base64.
      alt: what it shows.
      caption: lines.
      kind: "query", "right" or "wrong", which colour its frame, or "plain".
    """
    data = "data:image/jpeg;base64," + jpeg
    lines: list[Child] = []
    for line in caption:
        lines += [line, element("br")]
    shown = element("figcaption", *lines[:-1]) if caption else None
    return element("figure", element("img", src=data, alt=alt), shown, class_=kind)


def _heading(text: str, scope: str) -> Element:
    # A heading without text says nothing about its row or column.
    return element("th", text, scope=scope) if text else element("td")


def _cells(texts: Sequence[str]) -> list[Element]:
    return [element("td", text) for text in texts]
