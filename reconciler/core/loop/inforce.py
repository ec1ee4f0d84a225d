"""What is in force: the newest valid manifest of each object. Pure.

An invalid manifest keeps the last valid one of its object in force; that an object is absent is
only believed when everything could be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Mapping, Optional, Tuple

from reconciler.core.loop.snapshot import Snapshot
from reconciler.core.manifest import HostManifest, MachineManifest, TemplateManifest


@dataclass(frozen=True)
class InForce:
    """All objects in force, by name.

    `problems` says of an object why its newest manifest is not in force. `absent` are objects
    that were in force and are in a complete snapshot no more; `is_complete` says that it was one.
    """

    identity: str = ""
    revision: Optional[str] = None
    machines: Mapping[str, MachineManifest] = field(default_factory=dict)
    templates: Tuple[TemplateManifest, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    absent: FrozenSet[str] = frozenset()
    is_complete: bool = False
    hosts: Tuple[HostManifest, ...] = ()


def merge(former: InForce, new: Snapshot) -> InForce:
    """Return what is in force once a new snapshot was read."""
    there = new.machines()
    missing = former.machines.keys() - there.keys()
    kept = frozenset() if new.is_complete else frozenset(missing)
    machines: Dict[str, MachineManifest] = {one: former.machines[one] for one in kept}
    machines.update(there)
    return InForce(
        new.identity,
        new.revision,
        machines,
        _merge_templates(former, new),
        {name: _explain(machines[name], new) for name in sorted(kept)},
        frozenset(missing - kept),
        new.is_complete,
        _merge_hosts(former, new),
    )


def _merge_templates(former: InForce, new: Snapshot) -> Tuple[TemplateManifest, ...]:
    known = {} if new.is_complete else {one.name: one for one in former.templates}
    known.update({one.name: one for one in new.desired.templates})
    return tuple(known[name] for name in sorted(known))


def _merge_hosts(former: InForce, new: Snapshot) -> Tuple[HostManifest, ...]:
    known = {} if new.is_complete else {one.name: one for one in former.hosts}
    known.update({one.name: one for one in new.desired.hosts})
    return tuple(known[name] for name in sorted(known))


def _explain(manifest: MachineManifest, new: Snapshot) -> str:
    """Return the problems of the file that the object was in; of all files if it has none."""
    mine = [str(one) for one in new.problems if one.file == manifest.place.file]
    return "; ".join(mine or [str(one) for one in new.problems])
