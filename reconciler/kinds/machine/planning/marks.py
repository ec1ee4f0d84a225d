"""The mark that a manifest leaves on its domain, and what becomes of it if one is renamed. Pure."""

from __future__ import annotations

import shlex
from typing import Iterable, Optional, Tuple

from reconciler.core.frozen import replace
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import Owner
from reconciler.core.world import Reading, World
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.mark import NAMESPACE


def owner_of(
    manifest: MachineManifest,
    creating: Tuple[str, ...] = (),
    made: Tuple[str, ...] = (),
    formerly: Tuple[str, ...] = (),
) -> Owner:
    """Return the mark.

    `creating` are paths of volumes that are not complete yet, `made` of all that were ever made,
    `formerly` the names that the machine had before.
    """
    return Owner(
        manifest.name,
        manifest.generation,
        manifest.spec,
        manifest.machine.os,
        creating,
        manifest.revision,
        made,
        formerly=formerly,
    )


def begin_owner(
    manifest: MachineManifest, made: Tuple[str, ...] = (), formerly: Tuple[str, ...] = ()
) -> Owner:
    """Return the mark of a domain that is taken over, of whose manifest not all is applied yet.

    It says whose the domain is, and no spec: nothing is drift from what was never applied, and
    nothing is deleted by it.
    """
    return Owner(manifest.name, "", os=manifest.machine.os, made=made, formerly=formerly)


def unfinished_owner(
    manifest: MachineManifest, creating: Iterable[str], made: Tuple[str, ...]
) -> Owner:
    """Return the mark of a machine that is being created, whose disks are not complete yet."""
    mark = begin_owner(manifest, made)
    return replace(mark, creating=tuple(creating), is_unfinished=True)


def finish_owner(former: Owner, made: Tuple[str, ...]) -> Owner:
    """Return the mark when no volume is left to be made, whatever else is still to be applied."""
    return replace(former, creating=(), made=made, worker=None, is_unfinished=False)


def made_with(former: Optional[Owner], name: str, new: Iterable[str]) -> Tuple[str, ...]:
    """Return the volumes made so far for the machine, and the new ones.

    What the mark of another machine says, on a copy made by hand, is not this one's.
    """
    before = former.made if former is not None and former.name == name else ()
    return tuple(sorted({*before, *new}))


def inherit_mark(reading: Reading, world: World) -> Optional[Owner]:
    """Return what the mark of a former name tells of a domain; None of a copy, or without a mark.

    Raises TerminalError where the machine was renamed before it was complete.
    """
    name, owner = reading.view.name, reading.owner
    if owner is None or not _is_renamed(owner, name, world):
        return None
    if owner.creating or owner.is_unfinished:
        raise TerminalError(
            f"it has the mark of {owner.name} and was renamed before its volumes were complete; "
            f"rename it back (virsh domrename {shlex.quote(name)} {shlex.quote(owner.name)}) and "
            f"apply {owner.name} first"
        )
    return replace(owner, name=name, formerly=owner.names)


def _is_renamed(owner: Owner, name: str, world: World) -> bool:
    """Whether the domain of that name is the machine of the mark, by another name."""
    is_there = bool(world.find_holders("machine", owner.name))
    return not is_there and name in world.find_holders("mark", owner.name)


def refuse_renamed(name: str, world: World) -> None:
    """Raise TerminalError if a machine that is not there exists by another name."""
    renamed = world.find_holders("mark", name)
    if not renamed:
        return
    new, old = shlex.quote(renamed[0]), shlex.quote(name)
    raise TerminalError(
        f"domain {', '.join(renamed)} has the mark of {name}: it was renamed, so no second one "
        f"is created. Rename it back: virsh domrename {new} {old}. Or rename the manifest to "
        f"{renamed[0]} and run: virt-reconciler adopt {new} -f MANIFESTS. If it is a copy, "
        f"remove the mark: virsh metadata {new} --uri {NAMESPACE} --config --remove"
    )
