"""What is known of machines that this host does not show: how they were last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterable, Mapping, Optional

from reconciler.core.domain import read_machine, read_owner
from reconciler.core.domain.secrets import fill_secrets
from reconciler.core.history import LastKnown
from reconciler.core.model import Power
from reconciler.core.world import DomainView, GuestState, LostMachine, Reading
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError

NOTHING = "<domain/>"


def _forget(_name: str) -> Optional[LastKnown]:
    return None


@dataclass(frozen=True)
class Background:
    """Whom to ask. `find_last` returns how a machine was when it was last seen, if known."""

    find_last: Callable[[str], Optional[LastKnown]] = _forget


def find_lost(names: Iterable[str], background: Background) -> Mapping[str, LostMachine]:
    """Return those of these machines that are known from before."""
    found: Dict[str, LostMachine] = {}
    for name in names:
        last = background.find_last(name)
        lost = None if last is None else _read(last)
        if lost is not None:
            found[name] = lost
    return found


def _read(last: LastKnown) -> Optional[LostMachine]:
    """Understand a definition that was kept; what makes no sense any more counts as not known."""
    try:
        xml, missing = fill_secrets(last.xml, NOTHING)
        root = parse(xml)
        machine, owner = read_machine(root), read_owner(root)
    except ReconcilerError:
        return None
    if owner is None or owner.name != last.name or owner.creating:
        return None
    view = DomainView(last.name, last.uuid, GuestState.OFF, xml)
    machine = replace(machine, power=Power.STOPPED, autostart=False)
    return LostMachine(Reading(view, machine, owner=owner), last.at, last.autostart, missing)
