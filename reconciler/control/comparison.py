"""Plan what one version of the manifests changes against another.

With a host, or a snapshot of one, that is what would happen there; without, what would happen
on a host that is as the former version says. What both versions describe alike is left out.
"""

from __future__ import annotations

from typing import Callable, List, Mapping, Sequence

from reconciler.control.ports import Host
from reconciler.core.frozen import replace
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import Differing, find_differing
from reconciler.core.plan import Action, ActionKind, Plan, PlanOptions, failed_action
from reconciler.errors import NotFoundError, ReconcilerError
from reconciler.kinds.api import find_kind, list_reconciled


def compare_without_host(base: Desired, head: Desired, options: PlanOptions) -> Plan:
    """Plan on a host where `base` was applied; every host's objects at once."""
    differing = find_differing(base, head)
    actions: List[Action] = []
    for kind in list_reconciled():
        actions += kind.compare(base, head, differing, options)
    return _finish(Plan("", "", (), options.revision), actions, differing)


def compare_on(
    host: Host, base: Desired, head: Desired, plan_chosen: Callable[[Desired], Plan]
) -> Plan:
    """Plan on a host as it is; what both versions describe alike is left out, drifted or not.

    `plan_chosen` plans manifests on that host. Raises TransientError if it cannot be read.
    """
    differing = find_differing(base, head)
    keys = differing.changed | differing.added
    chosen = {
        key: manifest
        for key, manifest in head.objects.items()
        if key in keys or not find_row(key.kind).is_reconciled
    }
    plan = plan_chosen(Desired(chosen))
    actions = list(plan.actions)
    for key in sorted(differing.gone):
        if find_row(key.kind).is_here(base.objects[key], plan.host):
            actions += _plan_end(host, head, key)
    return _finish(plan, actions, differing)


def _plan_end(host: Host, head: Desired, key: Key) -> Sequence[Action]:
    """Plan the end of an object whose manifest goes; nothing if there is none on the host."""
    try:
        return [find_kind(key.kind).plan_delete(host, head, key)]
    except NotFoundError:
        return []
    except ReconcilerError as error:
        return [failed_action(key.kind, key.name, error)]


def _finish(plan: Plan, actions: Sequence[Action], differing: Differing) -> Plan:
    renamed = dict(differing.renamed)
    shown = [_tell_renamed(_show_end(one, differing), renamed) for one in actions]
    return replace(plan, actions=tuple(sorted(shown, key=lambda action: action.key)))


def _show_end(action: Action, differing: Differing) -> Action:
    """Show what becomes of an object whose manifest goes, even where that is nothing."""
    if action.key not in differing.gone or action.action is not ActionKind.NONE:
        return action
    word = find_row(action.kind).word
    reason = f"its manifest is removed; the {word} stays (lifecycle.deletion: orphan)"
    return Action(action.kind, action.name, ActionKind.WITHHELD, reason=reason)


def _tell_renamed(action: Action, renamed: Mapping[Key, Key]) -> Action:
    new = renamed.get(action.key)
    if new is None:
        return action
    word = find_row(action.kind).word
    note = (
        f"its manifest is called {new.name} now: that is another {word}, created anew; to keep "
        "this one, do not change metadata.name"
    )
    return replace(action, notes=(*action.notes, note))
