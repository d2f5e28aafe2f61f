"""Curves as SVG inside a page."""

import math
from collections.abc import Mapping, Sequence

from fgsam_jax.visualization.page import Element, element

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 10, 36
_COLOURS = 8
_DASHES = ("", "7 4", "2 3")  # once all colours are taken


def line_chart(
    title: str, curves: Mapping[str, Points], *, x: str = "epoch", low: float | None = None
) -> Element:
    """Curves over a common axis, with their key below.

    Args:
      title: above the chart.
      curves: points (x, y) by name; those that are no finite numbers are left out, a curve of one
        point is a dot.
      x: name of the horizontal axis.
      low: where the vertical axis begins at the latest; None: at the lowest point.
    """
    finite = {
        name: [p for p in points if all(map(math.isfinite, p))] for name, points in curves.items()
    }
    finite = {name: points for name, points in finite.items() if points}
    every = [point for points in finite.values() for point in points]
    if not every:
        return element("figure", element("h3", title), element("p", "nothing to show"))
    across, up = ticks([p[0] for p in every]), ticks([p[1] for p in every], low)
    drawing = element(
        "svg",
        *_axes(across, up, x),
        *(_curve(points, across, up, index) for index, points in enumerate(finite.values())),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=title,
    )
    key = element(
        "div",
        *(_entry(name, index) for index, name in enumerate(finite)),
        class_="key",
    )
    return element("figure", element("h3", title), drawing, key, class_="chart")


def ticks(values: Sequence[float], low: float | None = None) -> list[float]:
    """Round numbers, 3 to 8 evenly spaced, the first and the last around all values.

    Example:
      >>> ticks([1, 14])
      [0.0, 5.0, 10.0, 15.0]
    """
    least, most = min(values), max(values)
    if low is not None:
        least = min(least, low)
    span = (most - least) or abs(most) or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    step = next(s for f in (0.1, 0.2, 0.5, 1, 2) if span / (s := f * step) <= 5)
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def _axes(across: Sequence[float], up: Sequence[float], x: str) -> list[Element]:
    drawn = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in up:
        y = f"{_place(value, up, bottom, _TOP):.1f}"
        drawn.append(element("line", x1=f"{_LEFT}", x2=f"{right}", y1=y, y2=y, class_="grid"))
        drawn.append(
            element("text", f"{value:g}", x=f"{_LEFT - 6}", y=y, dy="4", text_anchor="end")
        )
    for value in across:
        place = f"{_place(value, across, _LEFT, right):.1f}"
        drawn.append(
            element("text", f"{value:g}", x=place, y=f"{bottom + 16}", text_anchor="middle")
        )
    drawn.append(
        element("text", x, x=f"{(_LEFT + right) / 2:g}", y=f"{_HEIGHT - 4}", text_anchor="middle")
    )
    return drawn


def _curve(points: Points, across: Sequence[float], up: Sequence[float], index: int) -> Element:
    colour = f"var(--c{index % _COLOURS})"
    placed = [
        (
            _place(a, across, _LEFT, _WIDTH - _RIGHT),
            _place(b, up, _HEIGHT - _BOTTOM, _TOP),
        )
        for a, b in points
    ]
    if len(placed) == 1:
        ((a, b),) = placed
        return element("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r="4", style=f"fill: {colour}")
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in placed)
    dash = _DASHES[index // _COLOURS % len(_DASHES)]
    look = {"stroke_dasharray": dash} if dash else {}
    return element("polyline", points=path, class_="line", style=f"stroke: {colour}", **look)


def _entry(name: str, index: int) -> Element:
    mark = element("i", style=f"background: var(--c{index % _COLOURS})")
    dashed = " (dashed)" if index >= _COLOURS else ""
    return element("span", mark, name + dashed)


def _place(value: float, marks: Sequence[float], begin: float, end: float) -> float:
    """Where a value lies between two ends of an axis whose marks are given."""
    return begin + (value - marks[0]) / (marks[-1] - marks[0]) * (end - begin)
