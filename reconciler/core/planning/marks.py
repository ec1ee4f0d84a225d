"""The mark that a manifest leaves on its domain. Pure."""

from __future__ import annotations

from typing import Tuple

from reconciler.core.manifest import MachineManifest
from reconciler.core.owner import Owner


def owner_of(manifest: MachineManifest, creating: Tuple[str, ...] = ()) -> Owner:
    """Return the mark; `creating` are paths of volumes that are not complete yet."""
    return Owner(
        manifest.name,
        manifest.generation,
        manifest.spec,
        manifest.machine.os,
        creating,
        manifest.revision,
    )
