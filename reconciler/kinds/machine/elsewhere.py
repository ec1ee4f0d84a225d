"""What is known of machines that this host does not show: how they were, and where they are.

Another host is asked before a machine is created here that it may have.
"""

from __future__ import annotations

import shlex
import threading
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.machine import Power
from reconciler.core.manifest import MACHINE, HostManifest, MachineManifest, is_named, may_be_same
from reconciler.core.secrets import fill_secrets
from reconciler.core.world import DomainView, GuestState, LostMachine, Reading, Unknown
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.domain.read import read_machine

if TYPE_CHECKING:
    from reconciler.control.ports import Host
    from reconciler.core.history import LastKnown

    Connect = Callable[[str], Host]

LIMIT = 20.0  # seconds for another host to answer

Views = Mapping[str, Union[DomainView, Unknown]]


@frozen
class NewMachine:
    """A machine that is to be made here. `uuid` is that of its manifest, or as it was known.

    `placed` is the host that an earlier revision of its manifest named, empty if there is none.
    """

    manifest: MachineManifest
    uuid: str = ""
    placed: str = ""

    @property
    def confirm(self) -> str:
        """The command by which a person says that the machine is nowhere else."""
        name = self.manifest.name
        return f"virt-reconciler apply --here {name} {self.manifest.place.file}"


def find_elsewhere(
    newcomers: Sequence[NewMachine],
    hosts: Sequence[HostManifest],
    here: str,
    connect: Optional[Connect],
) -> Mapping[str, str]:
    """Return the machines that are not to be made here, by name, each with why and what to do."""
    others = [host for host in hosts if not is_named(host.selector, here)]
    asked = [
        (other, _ask(other.uri, connect)) for other in others if connect and other.uri is not None
    ]
    found: Dict[str, List[str]] = {}
    for newcomer in newcomers:
        lines = [_find(newcomer, host, views) for host, views in asked]
        lines.append(_find_unasked(newcomer, others))
        found[newcomer.manifest.name] = [line for line in lines if line]
    return {name: "; ".join(lines) for name, lines in found.items() if lines}


def _ask(uri: str, connect: Connect) -> Union[Views, Unknown]:
    """Return another host's domains; Unknown if it cannot be reached, or not in time."""
    answer: List[Union[Views, Unknown]] = []

    def ask() -> None:
        try:
            answer.append(connect(uri).domains.list_domains())
        except ReconcilerError as error:
            answer.append(Unknown(str(error)))

    asking = threading.Thread(target=ask, name="ask another host", daemon=True)
    asking.start()
    asking.join(LIMIT)
    return answer[0] if answer else Unknown(f"no answer within {LIMIT:.0f} s")


def _find(machine: NewMachine, host: HostManifest, views: Union[Views, Unknown]) -> str:
    """Return why a machine is not made because of one other host; empty if that has it not."""
    name = machine.manifest.name
    if isinstance(views, Unknown):
        return (
            f"Host {host.name} ({host.uri}) cannot be asked whether it has {name}: {views.reason}. "
            f"If {name} is nowhere else, confirm: {machine.confirm}"
        )
    what = next((there for there, view in views.items() if _is_it(machine, there, view)), None)
    if what is None:
        return ""
    return (
        f"Host {host.name} has it (domain {what}), and two of it must not run. If it moved here, "
        f"remove it there: virsh -c {shlex.quote(str(host.uri))} undefine {shlex.quote(what)} "
        f"--keep-nvram. If it is another machine, confirm: {machine.confirm}"
    )


def _is_it(machine: NewMachine, name: str, view: Union[DomainView, Unknown]) -> bool:
    """Whether a domain is that machine: by its name, its UUID or our mark."""
    if name == machine.manifest.name:
        return True
    if isinstance(view, Unknown):
        return False
    if machine.uuid and view.uuid == machine.uuid:
        return True
    return _find_mark(view) == machine.manifest.name


def _find_mark(view: DomainView) -> Optional[str]:
    try:
        owner = read_owner(parse(view.persistent_xml))
    except ReconcilerError:
        return None
    return None if owner is None else owner.name


def _find_unasked(machine: NewMachine, others: Sequence[HostManifest]) -> str:
    """Return why a machine is not made that was placed on a host that nobody can ask."""
    names = [name for host in others if host.uri is not None for name in host.selector]
    if not machine.placed or any(may_be_same(machine.placed, name) for name in names):
        return ""
    name = machine.manifest.name
    return (
        f"its manifest placed it on {machine.placed} before, which cannot be asked whether it "
        f"still has it: no Host of that name has a uri. If {name} is gone there, confirm: "
        f"{machine.confirm}"
    )


NOTHING = "<domain/>"


def _forget(_key: Key) -> Optional[LastKnown]:
    return None


def _place_nowhere(_key: Key) -> str:
    return ""


@frozen
class Background:
    """Whom to ask. `find_last` returns how a machine was when it was last seen, if known.

    `find_placed` returns on which other host an earlier revision placed a machine, or an empty
    text. `connect` reaches another host by its URI; None: nobody else is asked. `hosts` are those
    of the repository, where the manifests that are planned are not all of it.
    """

    find_last: Callable[[Key], Optional[LastKnown]] = _forget
    find_placed: Callable[[Key], str] = _place_nowhere
    connect: Optional[Connect] = None
    hosts: Tuple[HostManifest, ...] = ()

    def asks_others(self, hosts: Sequence[HostManifest], here: str) -> bool:
        """Whether there is another host to ask."""
        others = (host for host in self.hosts or hosts if not is_named(host.selector, here))
        return self.connect is not None and any(other.uri is not None for other in others)

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
            NewMachine(
                machine,
                machine.machine.uuid or _uuid(lost.get(machine.name)),
                self.find_placed(machine.key),
            )
            for machine in machines
        ]
        return find_elsewhere(newcomers, self.hosts or hosts, here, self.connect)


def _uuid(lost: Optional[LostMachine]) -> str:
    return "" if lost is None else lost.reading.view.uuid


def find_lost(names: Iterable[str], background: Background) -> Mapping[str, LostMachine]:
    """Return those of these machines that are known from before."""
    found: Dict[str, LostMachine] = {}
    for name in names:
        last = background.find_last(Key(MACHINE, name))
        lost = None if last is None else _read(last)
        if lost is not None:
            found[name] = lost
    return found


def _read(last: LastKnown) -> Optional[LostMachine]:
    """Understand a definition that was kept; what is not valid any more counts as not known."""
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
