#!/usr/bin/env python3
"""Write docs/effects.md from the effect table: one line for each row. A test holds them equal."""

from __future__ import annotations

from pathlib import Path

from reconciler.core.render.words import show_path
from reconciler.kinds.machine.match import DifferenceKind
from reconciler.kinds.machine.planning.effects import TABLE, EffectRow, Route

PAGE = Path(__file__).resolve().parents[1] / "docs" / "effects.md"

INTRODUCTION = """\
# Effects

<!-- Written by scripts/make_effects_docs.py from the effect table; do not edit. -->

This is the table that the planner uses. It searches from the top; the first row whose field,
change and condition fit decides. A test in `tests/real` proves each row on a running guest. While
a machine is off, every change is `offline`, except those that are `withheld` there too.
`next-boot` becomes `restart` if the manifest's lifecycle allows it. [Plans](plan.md#effect-words)
explains the words.

| Row | Field | Change | Running | Off | By | Reason |
|---|---|---|---|---|---|---|
"""
KINDS = {
    DifferenceKind.ADD: "added",
    DifferenceKind.REMOVE: "removed",
    DifferenceKind.CHANGE: "changed",
    None: "any",
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    return INTRODUCTION + "".join(f"| {' | '.join(_cells(row))} |\n" for row in TABLE)


def _cells(row: EffectRow) -> tuple[str, ...]:
    condition = "" if row.when.__name__ == "always" else f", {row.when.__name__.replace('_', ' ')}"
    return (
        row.id,
        f"`{show_path(row.field).replace('xml[*', 'xml[]')}`",
        f"{KINDS[row.kind]}{condition}",
        f"`{row.running.value}`",
        f"`{row.off.value}`",
        "" if row.route is Route.NONE else row.route.value,
        row.reason,
    )


if __name__ == "__main__":
    main()
