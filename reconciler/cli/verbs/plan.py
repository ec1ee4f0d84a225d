"""`plan`: show what `apply` would do. Changes nothing."""

from __future__ import annotations

import argparse

from reconciler.cli.composition import Parts
from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.keeping import keep_plan
from reconciler.cli.preparing import Wish, detailed, prepare, trouble
from reconciler.core.render.as_json import render_json
from reconciler.core.render.summary import summarise
from reconciler.core.render.text import render_text


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Print the plan in the format asked for."""
    as_json = options.format == "json"
    adopt = frozenset(options.adopt_only)
    revision = as_json or options.out is not None
    wish = Wish(options.paths, options.connect, adopt, options.adopt_all, revision)
    prepared = prepare(wish, console, parts)
    if as_json:
        console.write(render_json(prepared.plan))
    else:
        console.write(render_text(prepared.plan, console.style(), verbose=options.verbose))
    if options.out is not None:
        keep_plan(options.out, prepared, wish, parts, console)
    summary = summarise(prepared.plan)
    status = trouble(prepared.problems, summary.failed)
    if status is Exit.DONE and options.detailed_exitcode:
        return detailed(summary)
    return status
