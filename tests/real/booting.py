"""A bench for one guest: boot it from a manifest, change it, start it cold, look at it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Collection, Tuple

from reconciler.core.machine import Machine, Overlay
from reconciler.core.manifest import Lifecycle, MachineManifest
from reconciler.core.plan import Action
from reconciler.core.world import GuestState, Reading
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planning.differences import find
from reconciler.kinds.machine.survey import read_sizes
from tests.lab.guest import Guest
from tests.real.worlds import Product, manifest_of

LIMIT = 300.0  # seconds; only a failure takes that long


@dataclass(frozen=True)
class Bench:
    """One guest on a real host. `boot_overlays` make it boot the test's kernel."""

    product: Product
    uri: str
    boot_overlays: Tuple[Overlay, ...]
    media: str

    def manifest(self, machine: Machine, lifecycle: Lifecycle = Lifecycle()) -> MachineManifest:
        """Return the manifest of a machine that boots the test's kernel; `@` is the media's folder."""
        folder = f"{self.media}/"
        cdroms = machine.cdroms and tuple(
            replace(cdrom, media=(cdrom.media or "").replace("@", folder))
            for cdrom in machine.cdroms
        )
        disks = machine.disks and tuple(
            replace(disk, source=disk.source.replace("@", folder), format="raw")
            if disk.source
            else disk
            for disk in machine.disks
        )
        overlays = (*self.boot_overlays, *machine.overlays)
        return manifest_of(
            replace(machine, disks=disks, cdroms=cdroms, overlays=overlays), lifecycle
        )

    def boot(self, manifest: MachineManifest) -> Guest:
        """Create the machine and wait for its guest."""
        self.apply(manifest)
        return self._wait_for_guest(manifest)

    def change(
        self, before: MachineManifest, after: MachineManifest, waiting: Collection[str] = ()
    ) -> Action:
        """Return what the plan says of the change, once no more than `waiting` waits."""
        self.wait(lambda: set(self.pending(before)) == set(waiting), "the balloon follows")
        [action] = self.product.plan(after).actions
        return action

    def apply(self, manifest: MachineManifest) -> None:
        """Apply without a failure, and find nothing left to change."""
        for outcome in self.product.apply(manifest):
            assert outcome.error is None, outcome.error
        [action] = self.product.plan(manifest).actions
        assert action.changes == (), action.changes

    def pending(self, manifest: MachineManifest) -> Tuple[str, ...]:
        """Return what waits for the next cold start."""
        [action] = self.product.plan(manifest).actions
        return action.pending

    def read(self, manifest: MachineManifest, *, live: bool) -> Machine:
        """Return the machine as libvirt has it, devices named as in the manifest."""
        desired = self.product.desired((manifest,))
        seen = observe(self.product.host, desired)
        reading = seen.world.domains[manifest.name]
        assert isinstance(reading, Reading)
        sized = replace(reading.view, disk_sizes=read_sizes(self.product.host, reading))
        found = seen.make(lambda world: find(manifest, read(sized), world))
        machine = found.live if live else found.stored
        assert machine is not None
        return machine

    def cold_start(self, manifest: MachineManifest) -> Guest:
        """Shut the guest down properly and start it again."""
        domains = self.product.host.domains
        domains.shut_down(manifest.name)
        self.wait(
            lambda: domains.read_domain(manifest.name).state is GuestState.OFF, "the guest stops"
        )
        self.apply(manifest)
        return self._wait_for_guest(manifest)

    def _wait_for_guest(self, manifest: MachineManifest) -> Guest:
        guest = Guest(self.uri, manifest.name)
        if manifest.machine.guest_agent is not False:
            guest.wait_ready(LIMIT)
        self.wait(lambda: self.pending(manifest) == (), "nothing waits any more")
        return guest

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s in vain until {what}"
            time.sleep(0.2)
