"""What is known of machines that this host does not show: how they were, and where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterable, Mapping, Optional, Sequence, Tuple

from reconciler.control.elsewhere import Connect, Newcomer, find_elsewhere
from reconciler.core.daemons.needs import is_named
from reconciler.core.domain import read_machine, read_owner
from reconciler.core.domain.secrets import fill_secrets
from reconciler.core.history import LastKnown
from reconciler.core.manifest import HostManifest, MachineManifest
from reconciler.core.model import Power
from reconciler.core.world import DomainView, GuestState, LostMachine, Reading
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError

NOTHING = "<domain/>"


def _forget(_name: str) -> Optional[LastKnown]:
    return None


def _place_nowhere(_name: str) -> str:
    return ""


@dataclass(frozen=True)
class Background:
    """Whom to ask. `find_last` returns how a machine was when it was last seen, if known.

    `find_placed` returns on which other host an earlier revision placed a machine, or an empty
    text. `connect` reaches another host by its URI; None: nobody else is asked. `hosts` are those
    of the repository, where the manifests that are planned are not all of it.
    """

    find_last: Callable[[str], Optional[LastKnown]] = _forget
    find_placed: Callable[[str], str] = _place_nowhere
    connect: Optional[Connect] = None
    hosts: Tuple[HostManifest, ...] = ()

    def asks_others(self, hosts: Sequence[HostManifest], here: str) -> bool:
        """Whether there is another host to ask."""
        others = (one for one in self.hosts or hosts if not is_named(one.selector, here))
        return self.connect is not None and any(one.uri is not None for one in others)

    def find_elsewhere(
        self,
        machines: Sequence[MachineManifest],
        lost: Mapping[str, LostMachine],
        hosts: Sequence[HostManifest],
        here: str,
    ) -> Mapping[str, str]:
        """Return which of these machines are not to be made here, and why."""
        if not machines:
            return {}
        newcomers = [
            Newcomer(one, one.machine.uuid or _uuid(lost.get(one.name)), self.find_placed(one.name))
            for one in machines
        ]
        return find_elsewhere(newcomers, self.hosts or hosts, here, self.connect)


def _uuid(lost: Optional[LostMachine]) -> str:
    return "" if lost is None else lost.reading.view.uuid


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
