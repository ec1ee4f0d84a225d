"""Races as Markdown, for a terminal and for docs/benchmarks.md alike."""

from __future__ import annotations

from statistics import median
from typing import Callable, List, Mapping, Sequence

from bench.timing import Goal, Race

HEAD = ("", "runs", "min s", "median s", "max s", "CPU s", "ratio", "difference", "goal")

_WORDS: Mapping[str, Callable[[float], str]] = {
    "ratio": lambda limit: f"{limit:g} times",
    "difference": lambda limit: f"+{limit * 1000:,.0f} ms",
    "seconds": lambda limit: f"{limit:g} s",
}


def render(race: Race) -> str:
    """Return one race as a section: a table, if anything was run, and its notes."""
    rows = [_row(race, index) for index in range(len(race.contenders))]
    table = [HEAD, ["---", *["---:"] * (len(HEAD) - 2), "---"], *rows] if rows else []
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    parts = (f"### {race.title}", lines, *race.notes)
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(race: Race, index: int) -> List[str]:
    contender, seconds = race.contenders[index], race.seconds(index)
    figures = [f"{one:.3f}" for one in (min(seconds), median(seconds), max(seconds))]
    processor = race.processor_seconds(index)
    figures.append(f"{median(processor):.3f}" if processor else "")
    beside = [_ratio(race.ratios(index)), _difference(race, index)] if index else ["1", ""]
    return [contender.name, str(len(seconds)), *figures, *beside, _goal(race, index)]


def _ratio(ratios: Sequence[float]) -> str:
    return f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def _difference(race: Race, index: int) -> str:
    return f"{median(race.differences(index)) * 1000:+,.0f} ms"


def _goal(race: Race, index: int) -> str:
    goal = race.contenders[index].goal
    if goal is None:
        return ""
    met = _reached(race, index, goal) <= goal.limit
    return f"{_WORDS[goal.measure](goal.limit)}: {'met' if met else 'missed'}"


def _reached(race: Race, index: int, goal: Goal) -> float:
    figures = {"ratio": race.ratios, "difference": race.differences, "seconds": race.seconds}
    return median(figures[goal.measure](index))
