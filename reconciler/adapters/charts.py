"""Charts as SVG, drawn by matplotlib: an extra, which only pages and charts of measurements need.

The colours are names of the SVG's own style, so that one picture does for a light and a dark page.
"""

from __future__ import annotations

import io
import logging
from typing import Any, Dict, Sequence, Tuple

from reconciler.core.measurements.charts import Bar, Chart, find_longest
from reconciler.errors import MissingError

# Stand-ins, which matplotlib takes for colours; each becomes a name of the style below.
_NAMES: Dict[str, str] = {
    "#010203": "ink",
    "#010204": "dim",
    "#010205": "page",
    "#020201": "c0",
    "#020202": "c1",
    "#020203": "c2",
    "#020204": "c3",
}
_INK, _DIM, _PAGE, *_SERIES = _NAMES
# Blue, orange, green and violet, which those who see few colours can tell apart by lightness too.
_STYLE = """<style>
:root { color-scheme: light dark; --ink: #1f2328; --dim: #59636e; --page: #fff;
  --c0: #0b5cad; --c1: #c96a00; --c2: #4f9e63; --c3: #6639ba; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9aa4af; --page: #0d1117;
  --c0: #6cb2f5; --c1: #f2a65a; --c2: #93d6a4; --c3: #cfadff; } }
text { font-family: system-ui, sans-serif; }
</style>"""
_POINTS = 72.0  # to an inch
_BAR, _GAP, _TOP = 15.0, 16.0, 50.0  # points
_SIGN = 5.6  # points: what a sign of the labels takes at most, on average
_FONT = 10  # points
_MARGIN, _ROOM = 8.0, 1.22  # the second is the room for the number behind the longest bar
_SETTINGS = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "charts",  # the same chart is the same file
    "font.size": _FONT,
    "text.color": _INK,
}


def draw_svg(chart: Chart, width: int) -> str:
    """Return a chart as an SVG document of that width, in points.

    Raises MissingError where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - it is an extra, and takes a second
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingError(
            "charts need matplotlib: dnf install python3-matplotlib (EPEL), or apt install "
            "python3-matplotlib"
        ) from error
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # notes on fonts that it looks for
    with mpl.rc_context(_SETTINGS):
        height = _find_height(chart)
        figure = Figure(figsize=(width / _POINTS, height / _POINTS), facecolor=_PAGE)
        _draw(figure, chart, (float(width), height))
        output = io.StringIO()
        FigureCanvasSVG(figure).print_svg(output, metadata={"Date": None, "Title": chart.title})
    return _use_style(output.getvalue())


def _find_height(chart: Chart) -> float:
    bars = len(chart.groups) * (len(chart.series) * _BAR + _GAP)
    return _TOP + bars + (_BAR * len(chart.series) if len(chart.series) > 1 else 0)


def _draw(figure: Any, chart: Chart, size: Tuple[float, float]) -> None:
    width, height = size
    is_narrow = find_longest(chart.groups) * _SIGN > width / 3
    left = _MARGIN if is_narrow else find_longest(chart.groups) * _SIGN + 2 * _MARGIN
    legend = _BAR * len(chart.series) if len(chart.series) > 1 else 0
    top = 1 - (_TOP - _GAP + legend) / height
    axes = figure.add_axes((left / width, 0.0, 1 - (left + _MARGIN) / width, top))
    figure.text(_MARGIN / width, 1 - _BAR / height, f"{chart.title}, {chart.unit}", weight="bold")
    if legend:
        _draw_legend(figure, chart.series, size)
    most = max((bar.high for bars in chart.bars for bar in bars if bar), default=1.0) or 1.0
    _draw_bars(axes, chart, most)
    _draw_labels(axes, chart, most, is_narrow=is_narrow)
    axes.set_xlim(0, most * _ROOM)
    axes.set_ylim(_find_top(chart, len(chart.groups)), 0)
    axes.set_axis_off()


def _draw_bars(axes: Any, chart: Chart, most: float) -> None:
    for index, bars in enumerate(chart.bars):
        for group, bar in enumerate(bars):
            if bar is not None:
                middle = _find_top(chart, group) + _GAP + index * _BAR + _BAR / 2
                _draw_bar(axes, middle, bar, _SERIES[index])
                number = show_value(bar.value)
                axes.text(bar.high + most / 100, middle, number, va="center", size=_FONT - 1)


def _draw_labels(axes: Any, chart: Chart, most: float, *, is_narrow: bool) -> None:
    """Name the groups above their bars, where there is no room beside them."""
    for group, label in enumerate(chart.groups):
        top = _find_top(chart, group)
        left, middle = -most / 100, top + _GAP + len(chart.series) * _BAR / 2
        if is_narrow:
            left, middle = 0.0, top + _GAP * 0.7
        side = "left" if is_narrow else "right"
        axes.text(left, middle, label, va="center", ha=side, color=_DIM, size=_FONT - 1)


def _find_top(chart: Chart, group: int) -> float:
    return group * (len(chart.series) * _BAR + _GAP)


def _draw_bar(axes: Any, middle: float, bar: Bar, colour: str) -> None:
    axes.barh(middle, bar.value, height=_BAR * 0.8, color=colour, linewidth=0)
    axes.plot((bar.low, bar.high), (middle, middle), color=_INK, linewidth=1.2, marker="|")


def _draw_legend(figure: Any, series: Sequence[str], size: Tuple[float, float]) -> None:
    width, height = size
    for index, name in enumerate(series):
        down = 1 - (2 * _BAR + index * _BAR) / height
        figure.text(_MARGIN / width, down, "■", color=_SERIES[index])
        figure.text((_MARGIN + _BAR) / width, down, name)


def show_value(value: float) -> str:
    """Return a number with three digits that count."""
    if value >= 100:  # noqa: PLR2004
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3g}"


def _use_style(svg: str) -> str:
    """Put the style into the document, and its names for the stand-ins."""
    for stand_in, name in _NAMES.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    start = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:start]}\n{_STYLE}{svg[start:]}"
