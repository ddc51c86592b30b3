"""Charts as SVG, drawn on the server. Numbers enter, markup leaves; colours stand in the style sheet.

The parts of a bar differ in lightness or in stripes as well as in hue, so that a chart reads in print and to
colour-blind people; each chart says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, FOOT = 336, 112, 18
GAP = 5
HEAD = 14
"""Room above the highest bar, for the sign of an alarm."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its parts from the bottom up, as (style class, number, words for it).

    `mark`: how high the first part was to be expected, with the words for that. `alarm`: words for a trouble
    that lasted through the bar's time, or "".
    """

    label: str
    parts: tuple[tuple[str, int, str], ...]
    mark: tuple[float, str] | None = None
    alarm: str = ""

    @property
    def total(self) -> int:
        return sum(number for _, number, _ in self.parts)


def stacked(bars: Sequence[Bar], title: str) -> Markup:
    """Bars side by side, all on one scale from zero; every second label, so that none touch."""
    most = max((bar.total for bar in bars), default=0) or 1
    step = WIDTH / max(1, len(bars))
    drawn = [
        _alarm(bar, number * step, step)
        + _bar(bar, number * step + GAP / 2, step - GAP, most)
        + _mark(bar, number * step, step, most)
        for number, bar in enumerate(bars)
    ]
    labels = [
        f'<text class="chart-label" x="{number * step + step / 2:.1f}" y="{HEIGHT + FOOT - 4}" '
        f'text-anchor="middle">{escape(bar.label)}</text>'
        for number, bar in enumerate(bars)
        if (len(bars) - 1 - number) % 2 == 0
    ]
    return Markup(  # noqa: S704 - every text in it is escaped above
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(drawn)}"
        f'<line class="chart-axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{"".join(labels)}</svg>'
    )


def _bar(bar: Bar, left: float, width: float, most: int) -> str:
    base = float(HEIGHT)
    said = [f"{words} {number}" for _, number, words in bar.parts if number]
    said += [f"{bar.mark[1]} {bar.mark[0]:.0f}"] if bar.mark else []
    words = "、".join([*said, bar.alarm] if bar.alarm else said)
    drawn = [f"<g><title>{escape(bar.label)}: {escape(words)}</title>"]
    for style, number, _ in bar.parts:
        if number:
            height = number / most * (HEIGHT - HEAD)
            base -= height
            box = f'x="{left:.1f}" y="{base:.1f}" width="{width:.1f}" height="{height:.1f}"'
            drawn.append(f'<rect class="part part-{style}"{fill(style)} {box}/>')
    return "".join(drawn) + "</g>"


def _mark(bar: Bar, left: float, width: float, most: int) -> str:
    """A line across the bar, wider than it: told from the bar's own edges by its length and its white rim."""
    if bar.mark is None:
        return ""
    y = HEIGHT - min(bar.mark[0] / most, 1.0) * (HEIGHT - HEAD)
    ends = f'x1="{left:.1f}" x2="{left + width:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line class="mark-rim" {ends}/><line class="mark" {ends}/>'


def _alarm(bar: Bar, left: float, width: float) -> str:
    """A shade behind the bar and a triangle above it: seen without colours too."""
    if not bar.alarm:
        return ""
    middle = left + width / 2
    return (
        f'<rect class="alarm" x="{left:.1f}" y="0" width="{width:.1f}" height="{HEIGHT}"/>'
        f'<path class="alarm-sign" d="M{middle:.1f} 1l4 7h-8z"/>'
    )


HATCHED = "bounced"
"""The part drawn in stripes: dark like the first one, and not to be told from it by lightness."""


def fill(style: str) -> Markup:
    """The attribute that a part of this style needs beside its class."""
    return Markup(' fill="url(#hatch)"') if style == HATCHED else Markup("")


def hatch() -> Markup:
    """The stripes, to stand once in a page."""
    return Markup(
        '<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="5" height="5" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-ground" width="5" height="5"/>'
        '<rect class="hatch-line" width="2" height="5"/></pattern></defs></svg>'
    )


def line_bar(number: int, most: int) -> Markup:
    """A thin bar beside a number in a table."""
    width = 0.0 if most == 0 else number / most * 160
    return Markup(  # noqa: S704 - numbers only
        f'<svg class="line-bar" viewBox="0 0 160 10" aria-hidden="true"><rect class="part part-line" '
        f'width="{width:.1f}" height="10"/></svg>'
    )
