"""Charts say what the numbers say, to eyes and to ears."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tallypost_console.charts import (
    SHAPES,
    Bar,
    Shape,
    bar_chart,
    line_chart,
    nice_top,
    short_count,
)

PLOT_TOP, PLOT_BOTTOM = 10.0, 174.0
LEFT, WIDTH = 52.0, 720.0
# Places are written with one digit after the point.
ROUNDING = 0.11
SEEN = 1.0
NASTY = "<script>alert(\"1\")</script> & 'co'"

COUNTS = st.integers(0, 10_000_000)
# What XML 1.0 can hold; ElementTree reads nothing else.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]))


def bar(*parts: tuple[str, int], is_open: bool = False) -> Bar:
    return Bar("Mon", "Monday: something", "/emails", parts, is_open)


def parse(chart: Markup) -> ElementTree.Element:
    # It holds no document type, so nothing in it can refer to anything outside.
    return ElementTree.fromstring(str(chart))  # noqa: S314


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [each for each in root.iter() if name in each.get("class", "").split()]


def number(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, "nan"))


def heights(chart: Markup) -> list[float]:
    return [number(part, "height") for part in of_class(parse(chart), "part")]


def ticks(chart: Markup) -> list[str]:
    return [tick.text or "" for tick in of_class(parse(chart), "tick")]


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.get("points", "").split())
    return [(float(x), float(y)) for x, y in pairs]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=4))
def test_parts_of_a_bar_stand_on_each_other_and_add_up(counts: list[int]) -> None:
    whole = bar(*((f"colour-{n}", count) for n, count in enumerate(counts)))
    parts = of_class(parse(bar_chart("Emails", [whole])), "part")
    floor = PLOT_BOTTOM
    for part in parts:
        assert number(part, "y") + number(part, "height") == pytest.approx(floor, abs=2 * ROUNDING)
        floor = number(part, "y")
    to_scale = sum(counts) / nice_top(sum(counts)) * (PLOT_BOTTOM - PLOT_TOP)
    made_visible = 1.5 * len(counts)
    assert to_scale - ROUNDING <= PLOT_BOTTOM - floor <= to_scale + made_visible + ROUNDING


def test_bars_are_drawn_to_one_scale() -> None:
    chart = bar_chart("Emails", [bar(("sent", 100)), bar(("sent", 400)), bar(("sent", 200))])
    first, second, third = heights(chart)
    assert second == pytest.approx(4 * first, abs=4 * ROUNDING)
    assert third == pytest.approx(2 * first, abs=2 * ROUNDING)


def test_one_among_thousands_is_seen() -> None:
    _, bounced = heights(bar_chart("Emails", [bar(("sent", 80_000), ("bounced", 1))]))
    assert bounced >= SEEN


def test_what_is_none_is_not_drawn() -> None:
    assert heights(bar_chart("Emails", [bar(("sent", 0), ("bounced", 0))])) == []
    assert len(heights(bar_chart("Emails", [bar(("sent", 5), ("bounced", 0))]))) == 1


def test_chart_without_bars_has_a_scale_from_zero() -> None:
    chart = bar_chart("Emails", [])
    assert heights(chart) == []
    assert ticks(chart) == ["0", "1", "2", "3", "4"]


def test_bar_without_anything_can_still_be_pointed_at() -> None:
    (column,) = of_class(parse(bar_chart("Emails", [bar()])), "column")
    assert number(column, "height") == PLOT_BOTTOM - PLOT_TOP


def test_bar_whose_time_is_not_over_is_hatched_over_its_whole_height() -> None:
    chart = bar_chart("Emails", [bar(("sent", 5), ("bounced", 3), is_open=True), bar(("sent", 1))])
    (hatch,) = of_class(parse(chart), "open")
    assert number(hatch, "height") == pytest.approx(sum(heights(chart)[:2]), abs=2 * ROUNDING)


@given(st.lists(st.lists(COUNTS, max_size=4), max_size=40))
def test_bars_stay_in_their_places(stacks: list[list[int]]) -> None:
    bars = [bar(*(("sent", count) for count in counts)) for counts in stacks]
    edge = LEFT
    for column in of_class(parse(bar_chart("Emails", bars)), "column"):
        assert number(column, "x") >= edge - ROUNDING
        edge = number(column, "x") + number(column, "width")
    assert edge <= WIDTH


@given(st.lists(st.lists(COUNTS, max_size=6), max_size=8))
def test_no_bar_leaves_the_picture(stacks: list[list[int]]) -> None:
    bars = [bar(*(("sent", count) for count in counts)) for counts in stacks]
    parts = of_class(parse(bar_chart("Emails", bars)), "part")
    assert all(number(part, "y") >= 0 for part in parts)


@pytest.mark.parametrize("chart", [bar_chart(NASTY, []), line_chart(NASTY, [], "then")])
def test_chart_has_a_name_for_those_who_listen(chart: Markup) -> None:
    assert parse(chart).get("aria-label") == NASTY


def test_bar_is_a_link_that_says_what_it_stands_for() -> None:
    one = Bar("Mon", "Monday: 3 emails", "/emails?q=a&mode=test", (("sent", 3),))
    (link,) = of_class(parse(bar_chart("Emails", [one])), "bar")
    assert link.get("href") == "/emails?q=a&mode=test"
    assert link.get("aria-label") == "Monday: 3 emails"
    assert link.findtext("title") == "Monday: 3 emails"


@given(WORDS | st.just(NASTY))
def test_no_word_breaks_out_of_its_place(word: str) -> None:
    one = Bar(word, word, word, ((word, 1),))
    root = parse(bar_chart(word, [one]))
    assert sorted({each.tag for each in root.iter()}) == sorted(
        ["svg", "defs", "pattern", "line", "text", "a", "title", "rect"]
    )
    root = parse(line_chart(word, [(word, [1])], word))
    assert {each.tag for each in root.iter()} == {"svg", "line", "text", "polyline"}


def test_line_runs_from_the_oldest_value_at_the_left_to_the_newest_at_the_right() -> None:
    (line,) = of_class(parse(line_chart("Rate", [("sent", [0, 4, 2])], "−5 min")), "line")
    assert points(line) == [
        (LEFT, PLOT_BOTTOM),
        ((LEFT + WIDTH) / 2, PLOT_TOP),
        (WIDTH, (PLOT_TOP + PLOT_BOTTOM) / 2),
    ]


def test_lines_share_a_scale() -> None:
    chart = line_chart("Rate", [("sent", [400.0]), ("bounced", [100.0])], "then")
    sent, bounced = (points(line)[0][1] for line in of_class(parse(chart), "line"))
    assert PLOT_BOTTOM - sent == pytest.approx(4 * (PLOT_BOTTOM - bounced))


def test_line_chart_names_its_ends() -> None:
    assert ticks(line_chart("Rate", [], "−5 min"))[-2:] == ["−5 min", "now"]


@given(st.lists(st.lists(st.floats(0, 1e9), max_size=50), max_size=4))
def test_no_line_leaves_the_plot(series: list[list[float]]) -> None:
    chart = line_chart("Rate", [("sent", values) for values in series], "then")
    for line in of_class(parse(chart), "line"):
        for x, y in points(line):
            assert LEFT <= x <= WIDTH
            assert PLOT_TOP <= y <= PLOT_BOTTOM


@given(st.floats(0, 1e12) | st.integers(0, 10**12))
def test_top_of_a_scale_is_near_above_and_has_whole_quarters(largest: float) -> None:
    top = nice_top(largest)
    assert top >= largest
    assert top % 4 == 0
    assert top == 4 or top < 2.5 * largest
    leading = top // 10 ** int(math.log10(top))
    assert leading in (2, 4, 8)


@given(st.integers(0, 10**9))
def test_scale_is_counted_in_equal_steps_that_are_short_to_read(largest: int) -> None:
    shown = ticks(bar_chart("Emails", [bar(("sent", largest))]))[:5]
    assert shown == [short_count(nice_top(largest) * n // 4) for n in range(5)]
    assert all(len(tick) <= 5 for tick in shown)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (950, "950"),
        (1000, "1k"),
        (1200, "1.2k"),
        (15_000, "15k"),
        (3_000_000, "3M"),
        (2_500_000, "2.5M"),
    ],
)
def test_counts_on_a_scale_are_short(count: int, text: str) -> None:
    assert short_count(count) == text


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_each_shape_keeps_within_its_width_and_has_a_pattern_of_its_own(shape: Shape) -> None:
    drawn = bar_chart("Emails", [bar(("sent", 3), is_open=True) for _ in range(7)], shape)
    root = parse(drawn)
    for column in of_class(root, "column"):
        assert shape.left <= number(column, "x")
        assert number(column, "x") + number(column, "width") <= shape.width
    assert root.get("viewBox") == f"0 0 {shape.width} 200"
    assert f'id="hatch-{shape.name}"' in drawn
    line = of_class(parse(line_chart("Rates", [("sent", [1, 2, 3])], "then", shape)), "line")[0]
    assert [x for x, _ in points(line)][-1] == shape.width
