"""A machine in the middle of a staged bus change, on a host in memory. No test is here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, List, Optional, Sequence, Tuple

from reconciler.control.ports import NoLocks
from reconciler.core.guest import (
    AgentState,
    DriverProbe,
    DriverReport,
    GuestDisk,
    GuestInterface,
    GuestReport,
)
from reconciler.core.images import ImageView
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import BusChange, Desired, Lifecycle, MachineManifest
from reconciler.core.names import BusChangeMark, Owner, Worker
from reconciler.core.plan import Action, Outcome, PlanOptions
from reconciler.core.world import DomainView, GuestState, PoolView, VolumeView
from reconciler.core.xmltree import parse, serialise
from reconciler.kinds.machine.domain.mark import read_owner, set_owner
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planning.guards import owner_of
from tests.execution import execute_action
from tests.unit.control.test_trail import Silent
from tests.unit.fake_clock import FakeClock
from tests.unit.memory_host import GIB, MemoryHost
from tests.unit.planning.worlds import domain, manifest_of

ROOT, HELPER = "/images/vm-root.qcow2", "/images/vm-bus-change.qcow2"
_CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
STAGED = BusChange("staged", timeout=600)
_PORT = "<controller type='pci' index='{}' model='pcie-root-port'/>"
_SATA = (
    "<controller type='pci' index='0' model='pcie-root'/>"
    + "".join(map(_PORT.format, range(1, 5)))
    + "<controller type='sata' index='0'/>"
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    f"<source file='{ROOT}'/><target dev='sda' bus='sata'/><alias name='ua-root'/></disk>"
)


class ClockLocks(NoLocks):
    """Implements `Locks`: nobody else is at work, and the time is the clock's."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    @property
    def me(self) -> Worker:  # type: ignore[override]
        """Return this run."""
        return Worker("", "", 1, 1, "", self._clock.wall())


def manifest_on(bus: str = "virtio", **values: Any) -> MachineManifest:
    """Return the manifest of the machine on that bus; values are the machine's or lifecycle's."""
    own = {name: values.pop(name) for name in ("os", "power", "name") if name in values}
    machine = Machine(**{"name": "vm", "disks": (Disk("root", bus),), **own})
    manifest = manifest_of(machine, replace(Lifecycle(bus_change=STAGED), **values))
    return replace(manifest, generation=f"{bus} {own} {values}")


class Walk:
    """The machine, its host and its clock; `manifest` is what is applied."""

    def __init__(
        self,
        manifest: Optional[MachineManifest] = None,
        *,
        runs: bool = True,
        with_agent: bool = False,
        devices: str = "",
    ) -> None:
        self.manifest = manifest or manifest_on()
        self.clock = FakeClock()
        self.host = MemoryHost(locks=ClockLocks(self.clock))
        volume = VolumeView("default", "vm-root.qcow2", ROOT, "qcow2", 20 * GIB)
        self.host.pools["default"] = PoolView(
            "default", "dir", "/images", {volume.name: volume}, available=1000 * GIB
        )
        self.host.images[ROOT] = ImageView(ROOT, "1", "qcow2")
        owner = replace(owner_of(manifest_on("sata")), made=(ROOT,))
        channel = _CHANNEL if with_agent else ""
        xml = set_owner(domain(_SATA + devices + channel), owner)
        uuid = parse(xml).findtext("uuid") or ""
        self.host.views["vm"] = DomainView("vm", uuid, GuestState.OFF, xml)
        if runs:
            self.host.domains.start("vm")
        self.host.writes.clear()

    @property
    def view(self) -> DomainView:
        """The domain as it is."""
        return self.host.views[self.manifest.machine.name]

    @property
    def owner(self) -> Owner:
        """Its mark."""
        owner = read_owner(parse(self.view.persistent_xml))
        assert owner is not None
        return owner

    def set_owner(self, owner: Owner) -> None:
        """Write another mark."""
        xml = set_owner(self.view.persistent_xml, owner)
        self.host.change(self.manifest.machine.name, persistent_xml=xml)

    @property
    def mark(self) -> BusChangeMark:
        """What its mark says of the bus change."""
        assert self.owner.bus_change is not None
        return self.owner.bus_change

    @property
    def buses(self) -> Tuple[str, ...]:
        """The bus of each disk in the definition, without the helper's."""
        disks = parse(self.view.persistent_xml).iterfind("devices/disk")
        return tuple(
            disk.find("target").get("bus", "")  # type: ignore[union-attr]
            for disk in disks
            if "bus-change" not in disk.find("alias").get("name", "")  # type: ignore[union-attr]
        )

    @property
    def volumes(self) -> List[str]:
        """The volumes that are there."""
        return sorted(self.host.pools["default"].volumes)

    def plan(self, manifest: Optional[MachineManifest] = None, **options: Any) -> Action:
        """Plan the machine now."""
        now = datetime.fromtimestamp(self.clock.wall(), timezone.utc).replace(tzinfo=None)
        desired = Desired.of(manifest or self.manifest)
        [action] = observe(self.host, desired).plan(PlanOptions(now=now, **options)).actions
        return action

    def carry_out(self, action: Action) -> Outcome:
        """Carry a plan out, whatever becomes of it."""
        return execute_action(self.host, Desired.of(self.manifest), action, Silent(), self.clock)

    def apply(self, **options: Any) -> Action:
        """Plan and carry out, without a failure; return the plan."""
        action = self.plan(**options)
        if action.steps:
            assert self.carry_out(action).error is None
        return action

    def show(self, *disks: GuestDisk, cards: Sequence[str] = ()) -> None:
        """Have the guest's agent show these disks, and cards with these MACs."""
        mark = self.owner.bus_change or BusChangeMark()
        probe = DriverProbe(mark.bus, mark.serial, mark.mac)
        interfaces = tuple(GuestInterface(mac, f"eth-{mac}") for mac in cards)
        run = parse(self.view.live_xml or "<domain/>").get("id", "")
        driver = DriverReport(probe, run, is_started=True)
        report = GuestReport(
            AgentState.ANSWERS, system="rocky", disks=disks, interfaces=interfaces, driver=driver
        )
        self.host.guests.reports["vm"] = report

    def show_helper(self) -> None:
        """Have the guest show the helper disk."""
        self.show(GuestDisk("/dev/vda", "virtio", self.mark.serial))

    def show_disks(self) -> None:
        """Have the guest show its disks on the new bus."""
        self.show(GuestDisk("/dev/vda", "virtio"), GuestDisk("/dev/vdb", "virtio"))

    def prepare(self) -> Walk:
        """Make the first step."""
        self.apply()
        assert "vm-bus-change.qcow2" in self.volumes
        return self

    def prove(self) -> Walk:
        """Go on until the guest has shown the helper disk, and is still on its former bus."""
        self.prepare()
        self.show_helper()
        self.apply()
        assert self.mark.proved
        return self

    def switch(self) -> Walk:
        """Go on until the guest runs on its new bus, and has not shown its disks."""
        self.prove()
        self.turn_off()
        self.apply()
        assert set(self.buses) == {"virtio"}
        self.host.guests.reports.clear()
        if not self.view.is_active:
            self.start()
            self.apply()
        assert self.mark.started
        return self

    def turn_off(self) -> None:
        """Turn the guest off, by someone else's hand."""
        self.host.change("vm", state=GuestState.OFF, live_xml=None, saved=False)

    def start(self) -> None:
        """Start it by someone else's hand."""
        self.host.domains.start("vm")

    def become(self, state: GuestState, reason: str = "") -> None:
        """Have the guest be in that state."""
        self.host.change("vm", state=state, state_reason=reason)

    def save(self) -> None:
        """Have the guest be saved by someone (virsh managedsave)."""
        root = parse(self.view.live_xml or "")
        del root.attrib["id"]
        live = serialise(root)
        self.host.change("vm", state=GuestState.OFF, live_xml=None, saved=True, saved_xml=live)
