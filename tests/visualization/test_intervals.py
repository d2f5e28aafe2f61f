import math
from xml.etree import ElementTree

import pytest

from fgsam_jax.visualization.intervals import interval_chart, svg_file


def test_the_dot_is_the_mean_and_the_bar_the_deviation_of_the_sample():
    chart = interval_chart("a", {"one": {"mAP": [10, 20, 30]}, "two": {"mAP": [25]}})
    marks = {x.text: float(x.get("x")) for x in chart.findall("text") if x.text.isdigit()}
    scale = (marks["30"] - marks["10"]) / 20
    one, two = chart.findall("circle")
    assert float(one.get("cx")) == pytest.approx(marks["20"], abs=0.1)
    assert float(two.get("cx")) == pytest.approx(marks["10"] + 15 * scale, abs=0.1)
    bars = [x for x in chart.findall("line") if x.get("stroke-width") == "3"]
    widths = [float(x.get("x2")) - float(x.get("x1")) for x in bars]
    assert widths == pytest.approx([2 * 10 * scale, 0], abs=0.2)


def test_a_row_without_values_has_its_name_and_no_mark():
    chart = interval_chart("a", {"<none>": {"mAP": []}, "some": {"mAP": [1.0, 2.0]}})
    assert len(chart.findall("circle")) == 1
    assert "<none>" in [x.text for x in chart.findall("text")]
    assert not interval_chart("a", {"none": {"mAP": []}}).findall("circle")


def test_the_file_is_svg_with_its_own_colours():
    root = ElementTree.fromstring(svg_file(interval_chart("a", {"x": {"mAP": [1, 2]}})))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert math.isfinite(float(root.get("width")))
    assert "var(" not in ElementTree.tostring(root, "unicode")
