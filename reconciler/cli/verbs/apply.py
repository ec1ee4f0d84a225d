"""`apply`: plan, or take a kept plan; show, ask, carry out, say how it ended.

One machine that fails never keeps the others from being done; the exit status says that one did.
"""

from __future__ import annotations

import argparse
import os
from typing import Optional, Sequence

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import (
    find_chronicle,
    mention_suspended,
    recall_with,
    withhold_conflicts,
)
from reconciler.cli.plans import Prepared, Wish, prepare, trouble
from reconciler.cli.progress import AWAIT_LIMIT, Carried, carry_out
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.manifest_files import is_manifest
from reconciler.core.render.text import render_text
from reconciler.core.render.words import escape, is_busy, summarise
from reconciler.core.units import parse_duration
from reconciler.errors import UsageError

QUESTION = "Apply these changes?"


def apply(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Apply the manifests, or a kept plan, asking first unless `--yes`."""
    _check_time(options.wait)
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
        patience = AWAIT_LIMIT if options.wait is None else parse_duration(options.wait)
        lanes = options.parallel
        carried = carry_out(prepared, chronicle, console, services, lanes, patience)
    elif summary.withheld:
        console.line("Nothing to apply: every difference is withheld.")
    unready = _wait(options, prepared, carried, console, services)
    failed = carried.failed - carried.busy + summary.failed + unready
    status = trouble(prepared.problems, failed)
    waits = carried.busy or any(map(is_busy, prepared.plan.actions))
    is_refused = summary.foreign or waits or conflicts
    return Exit.REFUSED if status is Exit.DONE and is_refused else status


def _check_time(text: Optional[str]) -> None:
    """Raise UsageError, before anything is done, for what is no time."""
    try:
        parse_duration("1s" if text is None else text)
    except ValueError:
        raise UsageError(f"--wait={text}: write a time with its unit, like --wait=30m") from None


def _wait(
    options: argparse.Namespace,
    prepared: Prepared,
    carried: Carried,
    console: Console,
    services: Services,
) -> int:
    """Wait for the guests of what was done, if it is asked for; return how many are not ready."""
    if options.wait is None or not carried.done:
        return 0
    from reconciler.cli.verbs.access import wait_for_guests  # noqa: PLC0415 - start-up time

    return wait_for_guests(options.wait, prepared, carried.done, console, services.clock)


def _prepare(options: argparse.Namespace, console: Console, services: Services) -> Prepared:
    kept = _find_plan_file(options.paths)
    if kept is None:
        adopt = frozenset(options.adopt_only)
        recall = recall_with(options, console, services)
        uri, here = uri_of(options, services, console), frozenset(options.here)
        wish = Wish(
            options.paths,
            uri,
            adopt,
            options.adopt_all,
            recall=recall,
            here=here,
            aborts=frozenset(options.abort_bus_change),
        )
        return prepare(wish, console, services)
    from reconciler.cli.plan_files import prepare_kept, refuse_options  # noqa: PLC0415

    refuse_options(kept, adopts=bool(options.adopt_only or options.adopt_all))
    return prepare_kept(kept, options, console, services)


def _find_plan_file(paths: Sequence[str]) -> Optional[str]:
    """Return the one path, if it is a file and no manifest. Raises UsageError if there are more."""
    found = [
        path for path in paths if os.path.isfile(path) and not is_manifest(os.path.basename(path))
    ]
    if found and len(paths) > 1:
        raise UsageError(
            f"{escape(found[0])}: is not a manifest (*.yaml, *.yml); a plan file must be the "
            "only argument"
        )
    return found[0] if found else None
