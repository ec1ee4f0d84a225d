"""`bench compare`: results beside each other, as text, JSON, or a page with charts."""

from __future__ import annotations

import argparse
import os
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from reconciler.adapters.text_files import read_text, write_folder
from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import find_measurements
from reconciler.cli.services import Services
from reconciler.core.measurements.charts import Chart, draw_charts
from reconciler.core.measurements.comparison import Comparison, compare_measurements
from reconciler.core.measurements.values import Measurement, read_measurement
from reconciler.core.render.measurement_comparison import render_comparison, write_comparison
from reconciler.core.render.measurement_page import NARROW, WIDE, Picture, render_page
from reconciler.core.render.text import Page
from reconciler.errors import MissingError, UsageError


def compare(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print the comparison, or write it into a folder with its charts."""
    comparison = compare_measurements(_find(options.names, options, console, services))
    if options.output_dir is not None:
        texts, missing = _make_files(comparison)
        written = write_folder(options.output_dir, texts, replace=options.force)
        if missing is not None:
            console.note(f"no charts: {missing}")
        console.line("\n".join(written))
    elif options.format == "json":
        console.write(write_comparison(comparison))
    elif options.format == "html":
        pictures, missing = _draw(draw_charts(comparison))
        console.write(render_page(comparison, pictures, missing))
    else:
        console.write(render_comparison(comparison, Page(console.style(), console.width())))
    return Exit.DONE


def _find(
    names: Sequence[str], options: argparse.Namespace, console: Console, services: Services
) -> Tuple[Measurement, ...]:
    """Return the results in the order of their names; those of one name the oldest first."""
    kept, problems = find_measurements(options, console, services).list()
    for problem in problems:
        console.note(problem)
    found = (each for name in names for each in _find_named(name, kept))
    return tuple({each.id: each for each in found}.values())


def _find_named(name: str, kept: Sequence[Measurement]) -> Iterator[Measurement]:
    if os.sep in name or name.endswith(".json"):
        yield read_measurement(read_text(name), name)
    else:
        yield from sorted(choose(kept, [name]), key=lambda each: each.taken_at)


def choose(found: Sequence[Measurement], names: Sequence[str]) -> Tuple[Measurement, ...]:
    """Return those that are named by ID, label, group or machine. Raises UsageError for none."""
    if not names:
        return tuple(found)
    chosen: List[Measurement] = []
    for name in names:
        fitting = [
            each
            for each in found
            if name in (each.id, each.label, each.group, each.environment.machine)
        ]
        if not fitting:
            raise UsageError(
                f"no measurement has the ID, label or machine {name!r}; list them: "
                "virt-reconciler bench list"
            )
        chosen.extend(each for each in fitting if each not in chosen)
    return tuple(chosen)


def _make_files(comparison: Comparison) -> Tuple[Dict[str, str], Optional[str]]:
    """Return the files by name, and why there are no charts."""
    charts = draw_charts(comparison)
    pictures, missing = _draw(charts)
    drawn = {f"{chart.name}.svg": picture.wide for chart, picture in zip(charts, pictures)}
    return {
        "index.html": render_page(comparison, pictures, missing),
        "comparison.json": write_comparison(comparison),
        **drawn,
    }, missing


def _draw(charts: Sequence[Chart]) -> Tuple[List[Picture], Optional[str]]:
    """Return the pictures, or why there are none: the page does without."""
    from reconciler.adapters.charts import draw_svg  # noqa: PLC0415 - only where one is drawn

    try:
        return [
            Picture(chart.title, draw_svg(chart, WIDE), draw_svg(chart, NARROW)) for chart in charts
        ], None
    except MissingError as error:
        return [], str(error)
