"""The chart: horizontal bars as an SVG that stands for itself, readable on light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from ingest.bench.results import Kind
from ingest.bench.table import title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.bench.results import Race, Records, Report, Result

WIDTH: Final = 860
# Where bars begin, and how long the longest may be: what is left is for the figures.
LEFT: Final = 230
LONGEST: Final = 420
ROW: Final = 26
BAR: Final = 16
HEAD: Final = 40
FOOT: Final = 34

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


def svg(report: Report) -> str:
    """The whole chart: a group of bars per workload, medians as bars, the least and the most as a whisker."""
    body: list[str] = []
    y = 8
    for race in report.races:
        body += _race(race, y)
        y += HEAD + ROW * len(race.results)
    if report.records:
        body += _records(report.records, y)
        y += HEAD + ROW * len(report.records)
    machine = report.machine
    foot = (
        f"ingest {report.version}, {machine.processor}, {machine.cores} cores, {machine.system}, {machine.filesystem}, "
        f"{report.date[:10]}. Bars: medians of {report.runs}; whiskers: least and most."
    )
    body.append(_text(8, y + FOOT - 14, foot, "quiet"))
    height = y + FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img">\n  <title>ingest bench</title>\n  <style>{_STYLE}  </style>\n  '
        + "\n  ".join(body)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    # What XML cannot hold (control characters) is not in our names; what it must not hold is escaped.
    attributes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{escape(text)}</text>'


def _race(race: Race, y: float) -> Iterator[str]:
    longest = max(max(result.seconds) for result in race.results)
    yield _text(8, y + 22, title(race), "title")
    for number, result in enumerate(race.results):
        yield from _bar(race, result, y + HEAD - 8 + ROW * number, LONGEST / longest)


def _bar(race: Race, result: Result, y: float, scale: float) -> Iterator[str]:
    kind = "peer" if result.kind is Kind.PEER else "ours"
    middle, least, most = y + ROW / 2, LEFT + min(result.seconds) * scale, LEFT + max(result.seconds) * scale
    yield _text(LEFT - 8, middle + 4, result.name, anchor="end")
    yield _rectangle(middle, result.median * scale, kind)
    yield f'<path class="whisker" d="M{least:.1f} {middle:.1f}H{most:.1f}M{least:.1f} {middle - 4:.1f}v8M{most:.1f} {middle - 4:.1f}v8"/>'
    figures = f"{result.median:.2f} s · {race.rate(result):.0f} MB/s · {race.ratio(result):.2f}"
    yield _text(most + 8, middle + 4, figures)


def _rectangle(middle: float, width: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{LEFT}" y="{middle - BAR / 2:.1f}" width="{max(width, 0.5):.1f}" height="{BAR}" rx="2"/>'


def _records(records: tuple[Records, ...], y: float) -> Iterator[str]:
    fastest = max(one.rate for one in records)
    yield _text(8, y + 22, "records: items per second through plan, journal and manifest", "title")
    for number, one in enumerate(records):
        middle = y + HEAD - 8 + ROW * number + ROW / 2
        width = one.rate * LONGEST / fastest
        yield _text(LEFT - 8, middle + 4, f"{one.items:,} items", anchor="end")
        yield _rectangle(middle, width, "ours")
        yield _text(LEFT + width + 8, middle + 4, f"{one.rate:,.0f}/s · peak {one.peak / 1e6:.0f} MB")
