"""`plan`: show what `apply` would do. Changes nothing."""

from __future__ import annotations

import argparse
from typing import Optional, Tuple

from reconciler.cli.console import PLAN_FORMATS, Console, Exit
from reconciler.cli.daemon_state import recall_with
from reconciler.cli.plans import Wish, detailed, prepare, trouble
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.plan import Plan
from reconciler.core.render.words import summarise
from reconciler.errors import Problem, UsageError


def plan(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print the plan in the format asked for."""
    form = PLAN_FORMATS[options.format]
    adopt = frozenset(options.adopt_only)
    revision = form.with_revision or options.out is not None
    _refuse_both(options)
    wish = Wish(
        paths=options.paths,
        uri=_find_uri(options, console, services),
        adopt=adopt,
        adopt_all=options.adopt_all,
        revision=revision,
        against=options.against,
        recall=recall_with(options, console, services),
        here=frozenset(options.here),
    )
    if options.base is not None or options.head is not None:
        plan, problems = _compare(options, wish, console, services)
        console.write(form.write(plan, console.style(), options.verbose))
        return _status(plan, problems, options)
    prepared = prepare(wish, console, services)
    console.write(form.write(prepared.plan, console.style(), options.verbose))
    if options.out is not None:
        from reconciler.cli.plan_files import keep_plan  # noqa: PLC0415 - start-up time

        keep_plan(options.out, prepared, wish, services, console)
    return _status(prepared.plan, prepared.problems, options)


def _find_uri(options: argparse.Namespace, console: Console, services: Services) -> Optional[str]:
    """Return the libvirt to plan for; a comparison has a host only where one is named."""
    if options.base is None and options.head is None and options.against is None:
        return uri_of(options, services, console)
    return None if options.connect is None else str(options.connect)


def _refuse_both(options: argparse.Namespace) -> None:
    if options.against is None:
        return
    if options.connect is not None:
        raise UsageError("--against and --connect exclude each other")
    if options.out is not None:
        raise UsageError("--out requires a plan of a real host: drop --against")


def _compare(
    options: argparse.Namespace, wish: Wish, console: Console, services: Services
) -> Tuple[Plan, Tuple[Problem, ...]]:
    if options.base is None:
        raise UsageError("--head requires --base")
    if options.out is not None:
        raise UsageError("--out and --base exclude each other: a comparison cannot be applied")
    from reconciler.cli.comparison import (  # noqa: PLC0415 - start-up time
        Question,
        prepare_comparison,
    )

    question = Question(options.paths, options.base, options.head)
    return prepare_comparison(question, wish, console, services)


def _status(plan: Plan, problems: Tuple[Problem, ...], options: argparse.Namespace) -> int:
    summary = summarise(plan)
    status = trouble(problems, summary.failed)
    if status is Exit.DONE and options.detailed_exitcode:
        return detailed(summary)
    return status
