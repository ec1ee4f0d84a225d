"""The mark that a manifest leaves on its domain. Pure."""

from __future__ import annotations

from typing import Iterable, Optional, Tuple

from reconciler.core.manifest import MachineManifest
from reconciler.core.owner import Owner


def owner_of(
    manifest: MachineManifest, creating: Tuple[str, ...] = (), made: Tuple[str, ...] = ()
) -> Owner:
    """Return the mark.

    `creating` are paths of volumes that are not complete yet, `made` of all that were ever made.
    """
    return Owner(
        manifest.name,
        manifest.generation,
        manifest.spec,
        manifest.machine.os,
        creating,
        manifest.revision,
        made,
    )


def begin_owner(
    manifest: MachineManifest, creating: Tuple[str, ...] = (), made: Tuple[str, ...] = ()
) -> Owner:
    """Return the mark of a domain that is taken over, of whose manifest not all is applied yet.

    It says whose the domain is, and no spec: nothing is drift from what was never applied, and
    nothing is deleted by it.
    """
    return Owner(manifest.name, "", os=manifest.machine.os, creating=creating, made=made)


def made_with(former: Optional[Owner], name: str, new: Iterable[str]) -> Tuple[str, ...]:
    """Return the volumes made so far for the machine, and the new ones.

    What the mark of another machine says, on a copy made by hand, is not this one's.
    """
    before = former.made if former is not None and former.name == name else ()
    return tuple(sorted({*before, *new}))
