"""The product on a real host, without its command line: plan and apply values."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any, Sequence, Set, Tuple

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.control.ports import NoLocks
from reconciler.core.machine import Machine
from reconciler.core.manifest import Desired, Lifecycle, MachineManifest, Place, TemplateManifest
from reconciler.core.names import Worker
from reconciler.core.plan import Action, Outcome, Plan, PlanOptions
from reconciler.kinds.machine.observe import observe
from tests.execution import execute

MIB, GIB = 2**20, 2**30


def manifest_of(machine: Machine, lifecycle: Lifecycle = Lifecycle()) -> MachineManifest:
    """Return a manifest that wants this machine; its generation follows the machine."""
    generation = hashlib.sha256(repr((machine, lifecycle)).encode()).hexdigest()[:12]
    sources = [
        {"name": disk.name, "source": {"path": disk.source}}
        for disk in machine.disks or ()
        if disk.source is not None
    ]
    spec = json.dumps({"generation": generation, "disks": sources})
    return MachineManifest(machine, generation, spec, Place("vm.yaml", 1, 1), lifecycle)


class Silent:
    """A reporter that tells nobody."""

    def started(self, action: Action) -> None:
        """Say nothing."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Say nothing."""


class Now(NoLocks):
    """Nobody else is at work, and the time is as it is, or `ahead` of it."""

    def __init__(self, ahead: float = 0) -> None:
        """Take the seconds."""
        self._ahead = ahead

    @property
    def me(self) -> Worker:  # type: ignore[override]
        """Return this run."""
        return Worker("", "", 1, 1, "", time.time() + self._ahead)


@dataclass(frozen=True)
class Product:
    """Plan and apply on one host."""

    host: LibvirtHost
    templates: Tuple[TemplateManifest, ...] = ()

    def desired(self, manifests: Sequence[MachineManifest]) -> Desired:
        """Return all that is wanted."""
        return Desired.of(*manifests, *self.templates)

    def plan(self, *manifests: MachineManifest, **options: Any) -> Plan:
        """Observe and plan."""
        desired = self.desired(manifests)
        return observe(self.host, desired).plan(PlanOptions(**options))

    def apply(
        self, *manifests: MachineManifest, host: Any = None, **options: Any
    ) -> Tuple[Outcome, ...]:
        """Plan and carry out, on the host or on a wrapped one."""
        plan = self.plan(*manifests, **options)
        return execute(host or self.host, self.desired(manifests), plan, Silent(), SystemClock())

    def xml(self, name: str) -> str:
        """Return the stored definition."""
        return self.host.domains.read_domain(name).persistent_xml

    def live_xml(self, name: str) -> str:
        """Return the running configuration."""
        live = self.host.domains.read_domain(name).live_xml
        assert live is not None
        return live

    def volumes(self, pool: str = "default") -> Set[str]:
        """Return the names of the volumes that are there."""
        return set(self.host.storage.read_pool(pool).volumes)

    def clear(self) -> None:
        """Remove every domain, and the volumes of every pool."""
        for name, view in self.host.domains.list_domains().items():
            if getattr(view, "live_xml", None):
                self.host.domains.power_off(name)
            if getattr(view, "persistent", True):
                self.host.domains.undefine(name)
        for pool in self.host.storage.list_pools():
            for volume in self.volumes(pool):
                self.host.storage.delete_partial(pool, volume)
