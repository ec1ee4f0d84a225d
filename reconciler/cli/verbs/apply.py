"""`apply`: plan, or take a kept plan; show, ask, carry out, say how it ended.

One machine that fails never keeps the others from being done; the exit status says that one did.
"""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import (
    find_chronicle,
    mention_suspended,
    recall_with,
    withhold_conflicts,
)
from reconciler.cli.plan_files import find_plan_file, prepare_kept, refuse_options
from reconciler.cli.plans import Prepared, Wish, prepare, trouble
from reconciler.cli.progress import Carried, carry_out
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.render.text import render_text
from reconciler.core.render.words import is_busy, summarise

QUESTION = "Apply these changes?"


def apply(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Apply the manifests, or a kept plan, asking first unless `--yes`."""
    prepared = mention_suspended(_prepare(options, console, services), options, console, services)
    prepared, conflicts = withhold_conflicts(prepared, options, console, services)
    summary, carried = summarise(prepared.plan), Carried(0, 0)
    console.write(render_text(prepared.plan, console.style(), verbose=options.verbose))
    if summary.todo:
        if not options.yes and not console.confirm(QUESTION, "nothing was applied"):
            console.line("Nothing was applied.")
            return Exit.FAILED
        console.line()
        chronicle = find_chronicle(options, prepared, console, services)
        carried = carry_out(prepared, chronicle, console, services, options.parallel)
    elif summary.withheld:
        console.line("Nothing to apply: every difference is withheld.")
    status = trouble(prepared.problems, carried.failed - carried.busy + summary.failed)
    waits = carried.busy or any(map(is_busy, prepared.plan.actions))
    is_refused = summary.foreign or waits or conflicts
    return Exit.REFUSED if status is Exit.DONE and is_refused else status


def _prepare(options: argparse.Namespace, console: Console, services: Services) -> Prepared:
    kept = find_plan_file(options.paths)
    if kept is None:
        adopt = frozenset(options.adopt_only)
        recall = recall_with(options, console, services)
        uri, here = uri_of(options, services, console), frozenset(options.here)
        wish = Wish(options.paths, uri, adopt, options.adopt_all, recall=recall, here=here)
        return prepare(wish, console, services)
    refuse_options(kept, adopts=bool(options.adopt_only or options.adopt_all))
    return prepare_kept(kept, options, console, services)
