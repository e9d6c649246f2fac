"""The chart: horizontal bars as an SVG that stands for itself, readable on light and dark pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from ingest.bench.results import Kind
from ingest.bench.table import title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.bench.results import Race, Records, Report, Result

# How long the longest bar may be, between the names and the figures.
LONGEST: Final = 420
MARGIN: Final = 8
# As wide as a letter may be on the average, by size of the type: of the fonts that systems have for `system-ui` the
# digits of the widest (DejaVu Sans) take 0.64 of it.
LETTER: Final = 0.66
ROW: Final = 26
BAR: Final = 16
HEAD: Final = 40
FOOT: Final = 34

# Of letters, in pixels, as the style below says.
SIZE: Final = 13
QUIET: Final = 11

_STYLE: Final = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600 }
    .quiet { fill: #59636e; font-size: 11px }
    .peer { fill: #8c959f }
    .ours { fill: #0969da }
    .whisker { stroke: #1f2328; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .quiet { fill: #9198a1 }
      .peer { fill: #656c76 }
      .ours { fill: #4493f8 }
      .whisker { stroke: #e6edf3 }
    }
"""


@dataclass(frozen=True, slots=True)
class Text:
    """One piece of text: where it begins, or ends if it is anchored there."""

    x: float
    y: float
    words: str
    kind: str = ""
    anchor: str = "start"

    @property
    def end(self) -> float:
        """Where it ends at the latest."""
        return self.x if self.anchor == "end" else self.x + _width(self.words, QUIET if self.kind == "quiet" else SIZE)

    def __str__(self) -> str:
        """In SVG."""
        # What XML cannot hold (control characters) is not in our names; what it must not hold is escaped.
        kind = f' class="{self.kind}"' if self.kind else ""
        return f'<text x="{self.x:.1f}" y="{self.y:.1f}" text-anchor="{self.anchor}"{kind}>{escape(self.words)}</text>'


def _width(words: str, size: int) -> float:
    return len(words) * size * LETTER


def svg(report: Report) -> str:
    """The whole chart: a group of bars per workload, medians as bars, the least and the most as a whisker.

    As wide as its words need: bars begin where the longest name ends.
    """
    names = [result.name for race in report.races for result in race.results]
    names += [_many(one) for one in report.records]
    left = math.ceil(2 * MARGIN + max((_width(name, SIZE) for name in names), default=0))
    body: list[Text | str] = []
    y = 8
    for race in report.races:
        body += _race(race, left, y)
        y += HEAD + ROW * len(race.results)
    if report.records:
        body += _records(report.records, left, y)
        y += HEAD + ROW * len(report.records)
    machine = report.machine
    foot = (
        f"ingest {report.version}, {machine.processor}, {machine.cores} cores, {machine.system}, {machine.filesystem}, "
        f"{report.date[:10]}. Bars: medians of {report.runs}; whiskers: least and most."
    )
    body.append(Text(MARGIN, y + FOOT - 14, foot, "quiet"))
    height, width = y + FOOT, math.ceil(MARGIN + max(one.end for one in body if isinstance(one, Text)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n  <title>ingest bench</title>\n  <style>{_STYLE}  </style>\n  '
        + "\n  ".join(map(str, body))
        + "\n</svg>\n"
    )


def _race(race: Race, left: int, y: float) -> Iterator[Text | str]:
    longest = max(max(result.seconds) for result in race.results)
    yield Text(MARGIN, y + 22, title(race), "title")
    for number, result in enumerate(race.results):
        yield from _bar(race, result, left, y + HEAD - 8 + ROW * number, LONGEST / longest)


def _bar(race: Race, result: Result, left: int, y: float, scale: float) -> Iterator[Text | str]:
    kind = "peer" if result.kind is Kind.PEER else "ours"
    middle, least, most = y + ROW / 2, left + min(result.seconds) * scale, left + max(result.seconds) * scale
    yield Text(left - MARGIN, middle + 4, result.name, anchor="end")
    yield _rectangle(left, middle, result.median * scale, kind)
    yield f'<path class="whisker" d="M{least:.1f} {middle:.1f}H{most:.1f}M{least:.1f} {middle - 4:.1f}v8M{most:.1f} {middle - 4:.1f}v8"/>'
    figures = f"{result.median:.2f} s · {race.rate(result):.0f} MB/s · {race.ratio(result):.2f}"
    yield Text(most + MARGIN, middle + 4, figures)


def _rectangle(left: int, middle: float, width: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{left}" y="{middle - BAR / 2:.1f}" width="{max(width, 0.5):.1f}" height="{BAR}" rx="2"/>'


def _records(records: tuple[Records, ...], left: int, y: float) -> Iterator[Text | str]:
    fastest = max(one.rate for one in records)
    yield Text(MARGIN, y + 22, "records: items per second through plan, journal and manifest", "title")
    for number, one in enumerate(records):
        middle = y + HEAD - 8 + ROW * number + ROW / 2
        width = one.rate * LONGEST / fastest
        yield Text(left - MARGIN, middle + 4, _many(one), anchor="end")
        yield _rectangle(left, middle, width, "ours")
        yield Text(left + width + MARGIN, middle + 4, f"{one.rate:,.0f}/s · peak {one.peak / 1e6:.0f} MB")


def _many(records: Records) -> str:
    return f"{records.items:,} items"
