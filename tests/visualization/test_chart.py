import itertools
import math

import pytest

from fgsam_jax.visualization.chart import line_chart, ticks


@pytest.mark.parametrize(
    "values", [[1, 14], [0, 1], [3], [0], [-5, 2000], [1e-9, 2e-9], [0.97, 1.0], [-2, -1], [1e9]]
)
@pytest.mark.parametrize("low", [None, 0])
def test_ticks_are_few_even_and_around_all_values(values, low):
    marks = ticks(values, low)
    assert 2 <= len(marks) <= 8
    assert marks[0] <= min(values)
    assert marks[-1] >= max(values)
    steps = [b - a for a, b in itertools.pairwise(marks)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - x) for x in (1, 2, 5)) < 1e-6


def test_points_lie_where_their_values_are():
    chart = line_chart("a < b", {"one": [(0, 0), (10, 50), (20, 100)]})
    (line,) = chart.findall(".//polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    marks = {text.text: text for text in chart.findall(".//text")}
    assert points[0][0] == float(marks["0"].get("x")) or points[0][0] == 50
    assert points[1] == pytest.approx(
        [(points[0][0] + points[2][0]) / 2, (points[0][1] + points[2][1]) / 2], abs=0.1
    )
    assert points[0][1] > points[2][1]  # upwards


def test_what_is_no_number_is_left_out_and_a_lone_point_is_a_dot():
    chart = line_chart("loss", {"a": [(1, math.nan), (2, 3.0)], "b": [(1, math.inf)], "c": []})
    assert len(chart.findall(".//circle")) == 1
    assert not chart.findall(".//polyline")
    assert [entry[0].tail for entry in chart.findall(".//span")] == ["a"]
    assert "nothing to show" in line_chart("loss", {"a": []}).itertext()
