"""Whether another host has a machine that is to be made here: that one is asked, before anything.

Asked only when a machine is to be made. A host that does not answer is no host without the machine.
"""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Union

from reconciler.control.ports import Host
from reconciler.core.daemons.needs import is_named
from reconciler.core.document.hosts import may_be_same
from reconciler.core.domain import read_owner
from reconciler.core.manifest import HostManifest, MachineManifest
from reconciler.core.world import DomainView, Unknown
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError

LIMIT = 20.0  # seconds for another host to answer

Views = Mapping[str, Union[DomainView, Unknown]]
Connect = Callable[[str], Host]


@dataclass(frozen=True)
class Newcomer:
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
    newcomers: Sequence[Newcomer],
    hosts: Sequence[HostManifest],
    here: str,
    connect: Optional[Connect],
) -> Mapping[str, str]:
    """Return the machines that are not to be made here, by name, each with why and what to do."""
    others = [one for one in hosts if not is_named(one.selector, here)]
    asked = [(one, _ask(one.uri, connect)) for one in others if connect and one.uri is not None]
    found: Dict[str, List[str]] = {}
    for one in newcomers:
        lines = [_find(one, host, views) for host, views in asked]
        lines.append(_find_unasked(one, others))
        found[one.manifest.name] = [line for line in lines if line]
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


def _find(one: Newcomer, host: HostManifest, views: Union[Views, Unknown]) -> str:
    """Return why a machine is not made because of one other host; empty if that has it not."""
    name = one.manifest.name
    if isinstance(views, Unknown):
        return (
            f"Host {host.name} ({host.uri}) cannot be asked whether it has {name}: {views.reason}. "
            f"If {name} is nowhere else, confirm: {one.confirm}"
        )
    what = next((there for there, view in views.items() if _is_it(one, there, view)), None)
    if what is None:
        return ""
    return (
        f"Host {host.name} has it (domain {what}), and two of it must not run. If it moved here, "
        f"remove it there: virsh -c {shlex.quote(str(host.uri))} undefine {shlex.quote(what)} "
        f"--keep-nvram. If it is another machine, confirm: {one.confirm}"
    )


def _is_it(one: Newcomer, name: str, view: Union[DomainView, Unknown]) -> bool:
    """Whether a domain is that machine: by its name, its UUID or our mark."""
    if name == one.manifest.name:
        return True
    if isinstance(view, Unknown):
        return False
    return (one.uuid != "" and view.uuid == one.uuid) or _find_mark(view) == one.manifest.name


def _find_mark(view: DomainView) -> Optional[str]:
    try:
        owner = read_owner(parse(view.persistent_xml))
    except ReconcilerError:
        return None
    return None if owner is None else owner.name


def _find_unasked(one: Newcomer, others: Sequence[HostManifest]) -> str:
    """Return why a machine is not made that was placed on a host that nobody can ask."""
    names = [name for host in others if host.uri is not None for name in host.selector]
    if not one.placed or any(may_be_same(one.placed, name) for name in names):
        return ""
    name = one.manifest.name
    return (
        f"its manifest placed it on {one.placed} before, which cannot be asked whether it still "
        f"has it: no Host of that name has a uri. If {name} is gone there, confirm: {one.confirm}"
    )
