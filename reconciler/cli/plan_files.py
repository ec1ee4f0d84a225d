"""Plans that are kept in a file: written by `plan --out`, applied as they stand by `apply FILE`."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Dict, Iterator, Sequence, Tuple

from reconciler import __version__
from reconciler.adapters.text_files import read_text, write_text
from reconciler.cli.console import Console
from reconciler.cli.daemon_state import recall_with
from reconciler.cli.plans import Prepared, Wish, prepare
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.frozen import replace
from reconciler.core.plan import Action, ActionKind, Effect, Plan
from reconciler.core.plan_files import (
    PlanFile,
    Seal,
    find_moved,
    read_plan_file,
    seal_plan,
    write_plan_file,
)
from reconciler.core.render.json import render_json
from reconciler.core.render.words import count, escape
from reconciler.core.units import show_time
from reconciler.errors import RefusedError, UsageError

NOT_IN_IT = "the plan file does not change it; plan again"


def keep_plan(
    path: str, prepared: Prepared, wish: Wish, services: Services, console: Console
) -> None:
    """Write the plan to a file, unless manifests are missing in it."""
    if prepared.problems:
        console.error(f"{escape(path)} was not written: the plan does not cover all manifests")
        return
    kept = PlanFile(
        made_at=show_time(services.clock.wall()) or "",
        version=__version__,
        paths=tuple(os.path.abspath(source) for source in wish.paths),
        connect=wish.uri,
        adopt=tuple(sorted(wish.adopt)),
        adopt_all=wish.adopt_all,
        shown=_show(prepared),
        seals=_seal(prepared),
    )
    write_text(path, write_plan_file(kept))
    console.note(f"kept in {escape(path)}; to carry out exactly this: apply {escape(path)}")


def _seal(prepared: Prepared) -> Tuple[Seal, ...]:
    return prepared.observation.make(
        lambda world: seal_plan(prepared.plan, prepared.desired, world)
    )


def prepare_kept(
    path: str, options: argparse.Namespace, console: Console, services: Services
) -> Prepared:
    """Plan anew what a file holds; return it with what the file says is to be done, and no more.

    Raises RefusedError if anything that it depends on has moved on.
    """
    kept = read_plan_file(read_text(path), escape(path))
    wish = Wish(
        kept.paths,
        options.connect or kept.connect or uri_of(options, services, console),
        frozenset(kept.adopt),
        kept.adopt_all,
        revision=True,
        recall=recall_with(options, console, services),
        here=frozenset(options.here),
    )
    prepared = prepare(wish, console, services)
    if prepared.plan.host != kept.host:
        raise RefusedError(
            f"{escape(path)} was made for {kept.host}, and this is {prepared.plan.host}; "
            "nothing was applied"
        )
    _refuse_moved(path, kept, prepared, console)
    todo = {(seal.kind, seal.name) for seal in kept.seals if seal.has_work}
    chosen = tuple(
        action if (action.kind, action.name) in todo else _leave_alone(action)
        for action in prepared.plan.actions
    )
    return replace(prepared, plan=replace(prepared.plan, actions=chosen))


def _leave_alone(action: Action) -> Action:
    """Show as withheld what could be done by now, and that nobody has read in the kept plan."""
    if not action.steps:
        return action
    changes = tuple(replace(change, effect=Effect.WITHHELD) for change in action.changes)
    return replace(action, action=ActionKind.WITHHELD, changes=changes, steps=(), reason=NOT_IN_IT)


def _refuse_moved(path: str, kept: PlanFile, prepared: Prepared, console: Console) -> None:
    present = _seal(prepared)
    moved = find_moved(kept.seals, present)
    if moved:
        for line in (*moved, *_explain_failed(prepared.plan)):
            console.complain(escape(line))
        raise RefusedError(
            f"nothing was applied: {count(len(moved), 'object')} changed since "
            f"{escape(path)} was made ({kept.made_at}); plan again"
        )
    if _work(kept.shown, kept) != _work(_show(prepared), kept):
        raise RefusedError(
            f"nothing was applied: {escape(path)} was modified after it was written; plan again"
        )


def _explain_failed(plan: Plan) -> Iterator[str]:
    for action in plan.actions:
        if action.action is ActionKind.FAILED:
            yield f"{action.name}: cannot be planned any more: {action.reason}"


def _show(prepared: Prepared) -> Dict[str, Any]:
    shown: Dict[str, Any] = json.loads(render_json(prepared.plan))
    return shown


def _work(shown: Dict[str, Any], kept: PlanFile) -> Sequence[object]:
    """Return what is shown of the objects with which anything is to be done."""
    todo = {(seal.kind, seal.name) for seal in kept.seals if seal.has_work}
    return [
        resource for resource in shown["resources"] if (resource["kind"], resource["name"]) in todo
    ]


def refuse_options(path: str, *, adopts: bool) -> None:
    """Refuse what a plan file has settled already. Raises UsageError."""
    if adopts:
        raise UsageError(
            f"{escape(path)} already records what is adopted; drop --adopt/--adopt-only"
        )
