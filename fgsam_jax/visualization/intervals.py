"""Means with their spread as SVG, for a page or a file of its own."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from xml.etree import ElementTree

from fgsam_jax.visualization.chart import ticks
from fgsam_jax.visualization.page import Element, element

Values = Sequence[float]

_ROW, _PANEL, _TOP, _BOTTOM, _GAP = 24, 250, 30, 34, 26
_LETTER = 7.4  # pixels of width, about
_TEXT = "font: 12px system-ui, sans-serif; fill: #444"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def interval_chart(title: str, rows: Mapping[str, Mapping[str, Values]]) -> Element:
    """A panel for each figure and in it a line for each row: mean, standard deviation, values.

    Args:
      title: what it shows, for those who cannot see it.
      rows: {row: {figure: its values, of several seeds}}; a row without values stays empty.

    Returns:
      SVG that needs no style sheet. The dot is the mean, the bar one standard deviation of the
      sample on either side, the small ticks are the single values.
    """
    figures = list(dict.fromkeys(name for values in rows.values() for name in values))
    left = 16 + _LETTER * max(map(len, rows), default=0)
    width = left + len(figures) * (_PANEL + _GAP)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    drawn: list[Element] = [element("rect", width="100%", height="100%", fill="#fff")]
    for place, name in enumerate(rows):
        drawn.append(_text(name, left - 8, _TOP + _ROW * (place + 0.5) + 4, "end"))
    for place, figure in enumerate(figures):
        begin = left + place * (_PANEL + _GAP)
        values = {row: found.get(figure, ()) for row, found in rows.items()}
        drawn += _panel(figure, values, begin, _COLOURS[place % len(_COLOURS)])
    return element(
        "svg",
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        role="img",
        aria_label=title,
        style="max-width: 100%; height: auto",
    )


def svg_file(chart: Element) -> str:
    """A chart as the content of a file."""
    return ElementTree.tostring(chart, "unicode") + "\n"


def _panel(figure: str, rows: Mapping[str, Values], begin: float, colour: str) -> list[Element]:
    every = [value for values in rows.values() for value in values]
    if not every:
        return []
    means = {row: mean(values) for row, values in rows.items() if values}
    spreads = {row: stdev(rows[row]) if len(rows[row]) > 1 else 0.0 for row in means}
    ends = [x for row in means for x in (means[row] - spreads[row], means[row] + spreads[row])]
    marks = ticks([*every, *ends])
    bottom = _TOP + _ROW * len(rows)

    def across(value: float) -> float:
        return begin + _PANEL * (value - marks[0]) / (marks[-1] - marks[0])

    drawn = [_text(figure, begin + _PANEL / 2, _TOP - 12, "middle")]
    for mark in marks:
        drawn.append(_line(across(mark), _TOP, across(mark), bottom, "#ddd", 1))
        drawn.append(_text(f"{mark:g}", across(mark), bottom + 18, "middle"))
    for place, (row, values) in enumerate(rows.items()):
        y = _TOP + _ROW * (place + 0.5)
        drawn += [_line(across(x), y - 5, across(x), y + 5, colour, 1) for x in values]
        if row in means:
            low, high = means[row] - spreads[row], means[row] + spreads[row]
            drawn.append(_line(across(low), y, across(high), y, colour, 3))
            drawn.append(
                element("circle", cx=f"{across(means[row]):.1f}", cy=f"{y:.1f}", r="5", fill=colour)
            )
    return drawn


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> Element:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    placed = {name: f"{value:.1f}" for name, value in ends.items()}
    return element("line", **placed, stroke=colour, stroke_width=f"{width}")


def _text(text: str, x: float, y: float, anchor: str) -> Element:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, style=_TEXT)
