from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from scanner.report.figures import HEIGHT, WIDTH, Bar, Line, bar_chart, line_chart, range_labels


def chart(values, **options):
    bars = [Bar(label=f"<{v}>", value=v, text=f"&{v}", is_emphasised=k == 0) for k, v in enumerate(values)]
    return ET.fromstring(
        bar_chart(bars, name="c", title="A <title>", description="What & why", x_label="x", y_label="y", **options)
    )  # a parser of XML is stricter than any browser


def bars_of(svg):
    return list(svg.iter("rect"))


def test_it_has_a_title_and_a_description_that_its_role_points_at():
    svg = chart([1, 2])
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby") == "c-title c-desc"
    assert {e.get("id"): e.text for e in svg if e.get("id")} == {"c-title": "A <title>", "c-desc": "What & why"}


def test_linear_bars_are_proportional_and_stand_on_one_line():
    first, second = bars_of(chart([10, 40]))
    assert float(second.get("height")) == pytest.approx(4 * float(first.get("height")), abs=0.5)
    foot = [float(r.get("y")) + float(r.get("height")) for r in (first, second)]
    assert foot[0] == pytest.approx(foot[1], abs=0.11)


def test_log_bars_show_one_beside_a_million_and_nothing_for_zero():
    bars = bars_of(chart([1, 1_000_000, 0], scale="log"))
    assert len(bars) == 2
    assert 5 < float(bars[0].get("height")) < float(bars[1].get("height"))


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("values", [[], [0], [1], [3, 7], [123_456_789, 1], list(range(30))])
def test_nothing_leaves_the_drawing(values, scale):
    svg = chart(values, scale=scale)
    for e in svg.iter():
        for name, most in (("x", WIDTH), ("x1", WIDTH), ("x2", WIDTH), ("y", HEIGHT), ("y1", HEIGHT), ("y2", HEIGHT)):
            assert 0 <= float(e.get(name, 0)) <= most
    ticks = [e.text for e in svg.iter("text") if e.get("class") == "tick end"]
    assert ticks[0] == "0"
    assert 2 <= len(ticks) == len(set(ticks)) <= 8


def test_only_the_bars_that_matter_have_the_full_colour():
    assert [rect.get("class") for rect in bars_of(chart([5, 6]))] == ["bar", "bar soft"]


def test_range_labels():
    assert range_labels([(1, 1), (2, 3), (4, 7)]) == ["1", "2–3", "4–7"]
    assert range_labels([(1 << k, (2 << k) - 1) for k in range(12)])[-2:] == ["1Ki", "2Ki"]


def lines(*points, marked=None, soft=()):
    drawn = [Line(label="<kept>", points=points)]
    drawn += [Line(label="soft", points=soft, is_emphasised=False)] if soft else []
    return ET.fromstring(
        line_chart(
            drawn,
            name="l",
            title="A <title>",
            description="What & why",
            x_label="x",
            y_label="y",
            marked=marked,
            marked_label="used",
        )
    )


def dots(svg):
    return [(float(e.get("cx")), float(e.get("cy"))) for e in svg.iter("circle")]


def test_a_line_runs_through_its_points_to_scale():
    svg = lines((0.9, 0.1), (0.95, 0.2), (1.0, 0.4))
    (x0, y0), (x1, y1), (x2, y2) = dots(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y2 == pytest.approx(2 * (y0 - y1), abs=0.3), "twice the step is twice the height, up"
    (polyline,) = svg.iter("polyline")
    assert polyline.get("points") == " ".join(f"{x},{y}" for x, y in dots(svg))
    assert svg.get("aria-labelledby") == "l-title l-desc"
    assert "<kept>" in [e.text for e in svg.iter("text")]


def test_the_threshold_in_use_is_marked_where_it_lies():
    svg = lines((0.9, 0.1), (0.95, 0.2), (1.0, 0.4), marked=0.95)
    (mark,) = [e for e in svg.iter("line") if e.get("class") == "mark"]
    assert float(mark.get("x1")) == float(mark.get("x2")) == pytest.approx(dots(svg)[1][0])
    assert not [e for e in lines((0.9, 0.1), (1.0, 0.4), marked=0.5).iter("line") if e.get("class") == "mark"]


def test_numbers_do_not_run_into_one_another_and_the_marked_one_stays():
    svg = lines((0.9, 0.1), (0.995, 0.2), (0.997, 0.3), (1.0, 0.4), marked=0.995)
    written = [e.text for e in svg.iter("text") if e.get("class") == "value"]
    assert written == ["10.0%", "20.0%"]
    svg = lines(*((0.9 + k / 50, 0.1) for k in range(6)))
    assert len([e for e in svg.iter("text") if e.get("class") == "value"]) == 6


@pytest.mark.parametrize(
    "points", [[], [(0.9, 0.0)], [(0.9, 0.5)], [(0.5, 1.0), (1.0, 0.0)], [(0.9 + k / 500, 0.5) for k in range(40)]]
)
def test_no_line_leaves_the_drawing(points):
    svg = lines(*points, soft=points)
    for x, y in dots(svg):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    ticks = [e.text for e in svg.iter("text") if e.get("class") == "tick"]
    assert 1 <= len(ticks) == len(set(ticks)) <= 8
