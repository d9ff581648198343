"""Charts as SVG, made on the server: they print, need no script, and take their colours from CSS.

Each has a name for those who listen and bars that the keyboard reaches; a table with the same
numbers stands beside it in the page.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Final

from markupsafe import Markup
from msgspec import Struct

_HEIGHT: Final = 200
_TOP: Final = 10
_BOTTOM: Final = 26
_PLOT_HEIGHT: Final = _HEIGHT - _TOP - _BOTTOM
_LINES: Final = 4
_BAR_SHARE: Final = 0.72
_THINNEST: Final = 1.5
"""A part of one among thousands is still seen."""


class Shape(Struct, frozen=True):
    """How wide a chart is drawn: a page has each in two, and shows the one that it has room for.

    Scaled down to a phone, the words of a wide one could not be read.
    """

    name: str
    width: int
    left: int

    @property
    def plot_width(self) -> int:
        """Of what is right of the numbers."""
        return self.width - self.left


WIDE: Final = Shape("wide", 720, 52)
NARROW: Final = Shape("narrow", 340, 40)
SHAPES: Final = (WIDE, NARROW)

_HATCH: Final = Markup(
    '<defs><pattern id="hatch-{}" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="hatch" width="3" height="6"/></pattern></defs>'
)


class Bar(Struct, frozen=True):
    """One bar: where it leads, and its parts from the bottom up, by the name of their colour."""

    label: str
    summary: str
    href: str
    parts: tuple[tuple[str, int], ...]
    is_open: bool = False
    """True where its time is not over yet: it is hatched."""

    @property
    def total(self) -> int:
        """Its height in units."""
        return sum(count for _, count in self.parts)


def bar_chart(name: str, bars: Sequence[Bar], shape: Shape = WIDE) -> Markup:
    """Stacked bars that begin at zero."""
    top = nice_top(max((bar.total for bar in bars), default=0))
    place = shape.plot_width / max(1, len(bars))
    drawn = Markup("").join(
        _bar(bar, shape.left + n * place, place, top) for n, bar in enumerate(bars)
    )
    return _figure(name, top, _HATCH.format(shape.name) + drawn, shape)


def line_chart(
    name: str,
    series: Sequence[tuple[str, Sequence[float]]],
    since: str,
    shape: Shape = WIDE,
) -> Markup:
    """Lines by the names of their colours, oldest value first; since names the left end."""
    top = nice_top(max((value for _, values in series for value in values), default=0))
    drawn = [
        Markup('<polyline class="line {}" points="{}"/>').format(
            colour, _points(values, top, shape)
        )
        for colour, values in series
    ]
    ends = ((shape.left, "start", since), (shape.width, "end", "now"))
    drawn += [
        Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            x, _HEIGHT - 8, anchor, text
        )
        for x, anchor, text in ends
    ]
    return _figure(name, top, Markup("").join(drawn), shape)


def nice_top(largest: float) -> int:
    """The first of 4, 8, 20, 40, 80, 200 … that is not below: its quarters are whole numbers."""
    top = 4
    for factor in cycle((2, 2.5, 2)):
        if top >= largest:
            break
        top = round(top * factor)
    return top


def short_count(count: float) -> str:
    """`950`, `1.2k`, `3M`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + unit
    return f"{count:g}"


def _figure(name: str, top: int, drawn: Markup, shape: Shape) -> Markup:
    return Markup(
        '<svg class="chart {}" role="group" aria-label="{}" viewBox="0 0 {} {}">{}{}</svg>'
    ).format(shape.name, name, shape.width, _HEIGHT, _lines(top, shape), drawn)


def _lines(top: int, shape: Shape) -> Markup:
    lines = []
    for n in range(_LINES + 1):
        value = top * n // _LINES
        y = _height_at(value, top)
        lines.append(
            Markup(
                '<line class="rule" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(shape.left, shape.width, y, y, shape.left - 8, y + 4, short_count(value))
        )
    return Markup("").join(lines)


def _bar(bar: Bar, left: float, place: float, top: int) -> Markup:
    width = place * _BAR_SHARE
    x = left + (place - width) / 2
    y = float(_TOP + _PLOT_HEIGHT)
    drawn = []
    for colour, count in bar.parts:
        if not count:
            continue
        height = max(_THINNEST, count / top * _PLOT_HEIGHT)
        y -= height
        drawn.append(_rectangle(f"part {colour}", x, y, width, height))
    if bar.is_open and drawn:
        drawn.append(_rectangle("open", x, y, width, _TOP + _PLOT_HEIGHT - y))
    # The whole column is what a pointer hits and the keyboard reaches.
    drawn.append(_rectangle("column", x, _TOP, width, _PLOT_HEIGHT))
    return Markup(
        '<a class="bar" href="{}" aria-label="{}"><title>{}</title>{}</a>'
        '<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
    ).format(
        bar.href,
        bar.summary,
        bar.summary,
        Markup("").join(drawn),
        x + width / 2,
        _HEIGHT - 8,
        bar.label,
    )


def _rectangle(class_: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        class_, x, y, width, height
    )


def _points(values: Sequence[float], top: int, shape: Shape) -> str:
    step = shape.plot_width / max(1, len(values) - 1)
    return " ".join(
        f"{shape.left + n * step:.1f},{_height_at(value, top):.1f}"
        for n, value in enumerate(values)
    )


def _height_at(value: float, top: int) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - value / top)
