"""What a domain was before a change, made ready to be gone back to. Pure.

Its definition as it was kept, with the secrets of today and the volumes that were made since; and
the same as a manifest, in which everything is managed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Mapping, Optional, Tuple

from reconciler.core.applied import read_lifecycle
from reconciler.core.domain import read_machine, read_owner
from reconciler.core.domain.owner import set_owner
from reconciler.core.domain.secrets import fill_secrets
from reconciler.core.history import Past
from reconciler.core.manifest import MachineManifest, Place
from reconciler.core.model import Disk, Machine
from reconciler.core.owner import Owner
from reconciler.core.world import Reading
from reconciler.core.xmltree import parse
from reconciler.errors import RefusedError


@dataclass(frozen=True)
class Target:
    """What the domain shall be again: its definition, and the same as a manifest.

    `missing` are places in it whose secrets are not known any more.
    """

    xml: str
    manifest: MachineManifest
    owner: Optional[Owner]
    was_running: bool = False
    missing: Tuple[str, ...] = ()


def find_target(past: Past, present: Reading, sizes: Mapping[str, int]) -> Target:
    """Return what it was before that change; `sizes` are those of disks that were grown since.

    Raises RefusedError where there is no way back.
    """
    view, former = present.view, past.former
    begun = None if former is None else read_owner(parse(former.xml))
    if former is None or (begun is not None and begun.is_unfinished):
        raise RefusedError(
            f"change {past.number} is the creation of {past.name}; before it there was nothing to "
            "go back to, and a rollback deletes nothing: take its manifest away, see `prune`"
        )
    if former.uuid != view.uuid:
        raise RefusedError(
            f"{past.name} is another domain now (UUID {view.uuid}, then {former.uuid}); `history "
            f"{past.name} {past.number}` shows the former definition"
        )
    filled, missing = fill_secrets(former.xml, view.persistent_xml)
    owner = _keep_volumes(read_owner(parse(filled)), present.owner)
    xml = (
        filled if owner is None or owner == read_owner(parse(filled)) else set_owner(filled, owner)
    )
    machine = replace(read_machine(parse(xml)), autostart=former.autostart)
    manifest = MachineManifest(
        replace(machine, os=_find_os(owner, present.owner), disks=_size(machine, sizes)),
        owner.generation if owner else "",
        owner.spec if owner else "{}",
        Place("history", past.number, 1),
        read_lifecycle(present.owner),
        revision=owner.revision if owner else None,
    )
    return Target(xml, manifest, owner, former.running, missing)


def _keep_volumes(former: Optional[Owner], present: Optional[Owner]) -> Optional[Owner]:
    """Return the former mark, with the volumes that were made since, and none unfinished.

    They are there still, and their making cannot be taken back. A volume that was unfinished then
    may be full of data now, and must never be made anew.
    """
    if former is None:
        return None
    if present is None:
        return replace(former, creating=())
    made = tuple(sorted({*former.made, *present.made}))
    same = former.generation == present.generation
    spec = present.spec if same else former.spec  # whole, where the former's secrets are hidden
    return replace(former, creating=(), made=made, spec=spec)


def _find_os(*owners: Optional[Owner]) -> Optional[str]:
    return next((one.os for one in owners if one is not None and one.os), None)


def _size(machine: Machine, sizes: Mapping[str, int]) -> Tuple[Disk, ...]:
    return tuple(replace(one, size=sizes.get(one.name)) for one in machine.disks or ())
