"""`plan`: show what `apply` would do. Changes nothing."""

from __future__ import annotations

import argparse

from reconciler.cli.composition import Parts
from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.formats import PLAN_FORMATS
from reconciler.cli.keeping import keep_plan
from reconciler.cli.preparing import Wish, detailed, prepare, trouble
from reconciler.core.render.summary import summarise


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Print the plan in the format asked for."""
    form = PLAN_FORMATS[options.format]
    adopt = frozenset(options.adopt_only)
    revision = form.with_revision or options.out is not None
    wish = Wish(options.paths, options.connect, adopt, options.adopt_all, revision)
    prepared = prepare(wish, console, parts)
    console.write(form.write(prepared.plan, console.style(), options.verbose))
    if options.out is not None:
        keep_plan(options.out, prepared, wish, parts, console)
    summary = summarise(prepared.plan)
    status = trouble(prepared.problems, summary.failed)
    if status is Exit.DONE and options.detailed_exitcode:
        return detailed(summary)
    return status
