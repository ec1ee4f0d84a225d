"""The manifests in force: looked up by the loop, replaced as a whole."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import FrozenSet, Optional

from reconciler.core.key import Key
from reconciler.core.loop.inforce import InForce, merge
from reconciler.core.loop.snapshot import Snapshot
from reconciler.core.manifest import MACHINE, Desired, MachineManifest
from reconciler.core.planner import is_placed_here


class Wanted:
    """What is wanted on this host. Replaced by one thread, read by many."""

    def __init__(self) -> None:
        """Begin with nothing known, which is not the same as nothing wanted."""
        self._in_force: Optional[InForce] = None
        # The newest reading, valid in full or not; None before the first one.
        self.snapshot: Optional[Snapshot] = None
        # Since when they say what they say, as far as this run has seen it; on the monotonic clock,
        # which no person and no time server sets.
        self.since = time.monotonic()

    @property
    def in_force(self) -> InForce:
        """What is in force; empty before the first manifests."""
        return self._in_force or InForce()

    def replace(self, snapshot: Snapshot) -> FrozenSet[str]:
        """Take new manifests, and return the names of machines that must be looked at."""
        former = self.in_force
        if self.snapshot is None or self.snapshot.identity != snapshot.identity:
            self.since = time.monotonic()
        self._in_force = merge(former, snapshot)
        self.snapshot = snapshot
        names = former.machines.keys() | self._in_force.machines.keys()
        return frozenset(one for one in names if self._differs(former, one))

    def _differs(self, former: InForce, name: str) -> bool:
        now = self.in_force
        then, there = former.machines.get(name), now.machines.get(name)
        key = Key(MACHINE, name)
        if then is None or there is None or former.problems.get(key) != now.problems.get(key):
            return True
        return (then.generation, then.host) != (there.generation, there.host)

    def users_of(self, kind: str, *names: str) -> FrozenSet[str]:
        """Return the machines that name one of these networks, pools or bridges."""
        return frozenset(
            one.name
            for one in self.in_force.machines.values()
            if not _named(one, kind).isdisjoint(names)
        )

    def made_from(self, domain: str) -> FrozenSet[str]:
        """Return the machines with disks of a template that is that domain's.

        Not the domain itself: what is tried in vain on it would have it tried again at once.
        """
        templates = {one.name for one in self.in_force.templates if one.domain == domain}
        if not templates:
            return frozenset()
        return frozenset(
            one.name
            for one in self.in_force.machines.values()
            if one.name != domain
            and any(disk.template in templates for disk in one.machine.disks or ())
        )


def find_machine(in_force: InForce, name: str, host: str) -> Optional[MachineManifest]:
    """Return a machine's manifest with its commit, None if it is not for this host."""
    found = in_force.machines.get(name)
    if found is None or not is_placed_here(found, host):
        return None
    return replace(found, revision=in_force.revision)


def find_alone(in_force: InForce, manifest: MachineManifest) -> Desired:
    """Return the machine with the templates that its disks name, and nothing else."""
    names = {one.template for one in manifest.machine.disks or ()}
    return Desired.of(manifest, *(one for one in in_force.templates if one.name in names))


def _named(manifest: MachineManifest, kind: str) -> FrozenSet[str]:
    machine = manifest.machine
    if kind == "network":
        return frozenset(one.network for one in machine.interfaces or () if one.network)
    if kind == "bridge":
        return frozenset(one.bridge for one in machine.interfaces or () if one.bridge)
    return frozenset(one.pool or "default" for one in machine.disks or ())
