"""A staged bus change of several disks and cards, some of which go away while it is under way."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, Sequence, Tuple

import pytest

from reconciler.control.prune import plan_deletions
from reconciler.core.frozen import replace
from reconciler.core.guest import GuestDisk
from reconciler.core.images import ImageView
from reconciler.core.machine import Disk, Interface, Machine
from reconciler.core.manifest import BusChange, Desired, Lifecycle, MachineManifest
from reconciler.core.plan import ActionKind, Effect, PlanOptions
from reconciler.core.world import GuestState, VolumeView
from reconciler.core.xmltree import Element, parse, serialise
from reconciler.kinds.machine.domain.layout import remove
from reconciler.kinds.machine.observe import observe
from tests.lab.keys import vm
from tests.unit.memory_host import GIB
from tests.unit.planning.walking import STAGED, Walk
from tests.unit.planning.worlds import manifest_of

DATA = "/images/vm-data.qcow2"
MACS = {"lan": "52:54:00:00:00:01", "wan": "52:54:00:00:00:02"}
_PORTS = "".join(
    f"<controller type='pci' index='{index}' model='pcie-root-port'/>" for index in range(5, 11)
)
_CARD = (
    "<interface type='network'><mac address='{}'/><source network='default'/>"
    "<model type='e1000e'/><alias name='ua-{}'/></interface>"
)
DEVICES = (
    f"{_PORTS}<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    f"<source file='{DATA}'/><target dev='sdb' bus='sata'/><alias name='ua-data'/></disk>"
    + "".join(_CARD.format(mac, name) for name, mac in MACS.items())
)


def manifest(
    disks: Sequence[str] = ("root", "data"), cards: Sequence[str] = ("lan", "wan"), **values: Any
) -> MachineManifest:
    """Return the machine with these disks and cards on virtio; values are those of lifecycle."""
    machine = Machine(
        "vm",
        disks=tuple(Disk(name, "virtio") for name in disks),
        interfaces=tuple(
            Interface(name, "default", model="virtio", mac=MACS[name]) for name in cards
        ),
    )
    wanted = manifest_of(machine, replace(Lifecycle(bus_change=STAGED), **values))
    return replace(wanted, generation=f"{disks} {cards} {values}")


class LargeWalk(Walk):
    """The machine of two disks and two cards."""

    def __init__(self) -> None:
        super().__init__(manifest(), with_agent=True, devices=DEVICES)
        pool = self.host.pools["default"]
        data = VolumeView("default", "vm-data.qcow2", DATA, "qcow2", 20 * GIB)
        self.host.pools["default"] = replace(pool, volumes={**pool.volumes, data.name: data})
        self.host.images[DATA] = ImageView(DATA, "2", "qcow2")
        self.host.snapshot.networks["default"] = True  # type: ignore[index]

    @property
    def cards(self) -> Tuple[str, ...]:
        """The model of each card in the definition."""
        models = parse(self.view.persistent_xml).iterfind("devices/interface/model")
        return tuple(model.get("type", "") for model in models)

    def show_helper(self) -> None:
        """Have the guest show the helpers that it has."""
        helper = GuestDisk("/dev/vda", "virtio", self.mark.serial)
        self.show(helper, cards=(*MACS.values(), *filter(None, [self.mark.mac])))

    def show_disks(self) -> None:
        """Have the guest show all that it has."""
        disks = (GuestDisk(f"/dev/vd{letter}", "virtio") for letter in "abc")
        self.show(*disks, cards=tuple(MACS.values()))

    def finish(self) -> None:
        """Go on until nothing is left to do; the guest shows all that it has."""
        for _ in range(12):
            bus_change = self.owner.bus_change
            if self.view.is_active and bus_change is not None and bus_change.switched:
                self.show_disks()
            elif self.view.is_active and bus_change is not None:
                self.show_helper()
            action = self.apply()
            if action.action is ActionKind.NONE:
                return
            if not action.steps:
                self.turn_off() if self.view.is_active else self.start()
        raise AssertionError(action)


PLACES: Dict[str, Callable[[], LargeWalk]] = {
    "plugged": lambda: _at(LargeWalk.prepare),
    "proved": lambda: _at(LargeWalk.prove),
    "switched": lambda: _at(LargeWalk.switch),
}


def _at(step: Callable[[LargeWalk], object]) -> LargeWalk:
    walk = LargeWalk()
    step(walk)
    return walk


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_off", [False, True])
@pytest.mark.parametrize(
    ("wanted", "buses", "cards"),
    [
        (manifest(disks=("root",)), ("virtio",), ("virtio", "virtio")),
        (manifest(cards=("lan",)), ("virtio", "virtio"), ("virtio",)),
        (manifest(cards=()), ("virtio", "virtio"), ()),
    ],
    ids=["a disk", "a card", "all cards"],
)
def test_what_the_manifest_removes_meanwhile_does_not_hold_the_others(
    place: str,
    is_off: bool,
    wanted: MachineManifest,
    buses: Tuple[str, ...],
    cards: Tuple[str, ...],
) -> None:
    walk = PLACES[place]()
    serial = walk.mark.serial
    if is_off:
        walk.turn_off()
    walk.manifest = wanted
    if cards or place == "switched":
        walk.apply()
        assert (walk.mark.serial, walk.mark.failed) == (serial, "")  # it goes on, and is not undone
    walk.finish()
    assert (walk.buses, walk.cards) == (buses, cards)
    assert walk.owner.bus_change is None
    assert "vm-bus-change.qcow2" not in walk.volumes


def _drop(walk: Walk, *targets: str) -> None:
    """Take disks and cards away, as virsh detach-disk and detach-interface do."""

    def without(xml: str) -> str:
        root = parse(xml)
        for device in root.findall("devices/disk") + root.findall("devices/interface"):
            if list_targets(device) & {*targets}:
                remove(device)
        return serialise(root)

    view = walk.view
    live = None if view.live_xml is None else without(view.live_xml)
    walk.host.change("vm", persistent_xml=without(view.persistent_xml), live_xml=live)


def list_targets(device: Element) -> FrozenSet[str]:
    """Return the target and the MAC of a device."""
    return frozenset(child.get("dev") or child.get("address") or "" for child in device)


@pytest.mark.parametrize("end", ["aborted", "taken back", "late"])
def test_the_former_bus_comes_back_without_what_someone_removed(end: str) -> None:
    walk = PLACES["switched"]()
    _drop(walk, "vdb", MACS["wan"])
    walk.manifest = manifest(disks=("root",), cards=("lan",))
    options: Dict[str, Any] = {}
    if end == "aborted":
        options["aborts"] = frozenset({"vm"})
        walk.turn_off()
    elif end == "taken back":
        machine = replace(walk.manifest.machine, disks=(Disk("root", "sata"),))
        walk.manifest = replace(walk.manifest, machine=machine, generation="sata")
        walk.turn_off()
    else:
        walk.clock.sleep(3600)
        walk.show()
        walk.apply()
        walk.turn_off()
    walk.apply(**options)
    assert (walk.buses, walk.cards) == (("sata",), ("e1000e",))
    assert "vm-bus-change.qcow2" not in walk.volumes


def test_a_disk_that_is_a_lun_of_the_host_is_waited_for_too() -> None:
    walk = PLACES["switched"]()
    view = walk.view
    walk.host.change(
        "vm",
        persistent_xml=_as_lun(view.persistent_xml),
        live_xml=_as_lun(view.live_xml or ""),
    )
    disks = [GuestDisk(f"/dev/vd{letter}", "virtio") for letter in "abc"]
    walk.show(*disks[:2], cards=tuple(MACS.values()))
    [change] = walk.plan().changes
    assert "the guest does not show root, data on virtio" in change.reason
    walk.show(*disks, cards=tuple(MACS.values()))
    assert "step 5 of 5: the guest shows its disks" in walk.plan().changes[0].reason


def _as_lun(xml: str) -> str:
    root = parse(xml)
    for disk in root.findall("devices/disk/target[@dev='vdb']/.."):
        disk.set("device", "lun")
    return serialise(root)


@pytest.mark.parametrize("end", ["aborted", "late"])
def test_what_came_back_is_not_moved_at_once_by_a_manifest_that_says_direct(end: str) -> None:
    walk = PLACES["switched"]()
    walk.manifest = manifest(bus_change=BusChange("direct"))
    if end == "late":
        walk.clock.sleep(3600)
        walk.show()
        walk.apply()
    walk.turn_off()
    walk.apply(aborts=frozenset({"vm"} if end == "aborted" else ()))
    assert (walk.buses, walk.cards) == (("sata", "sata"), ("e1000e", "e1000e"))
    held = walk.plan()
    assert (held.steps, {change.effect for change in held.changes}) == ((), {Effect.WITHHELD})
    assert "To try again: virt-reconciler retry vm, or change its manifest" in held.stalled
    for _ in range(2):
        walk.apply(retried=walk.clock.wall())
    assert (walk.buses, walk.owner.bus_change) == (("virtio", "virtio"), None)


@pytest.fixture
def cards_only() -> LargeWalk:
    """Return a guest that runs and has its helper card; its disks are not managed."""
    walk = LargeWalk()
    machine = replace(walk.manifest.machine, disks=None)
    walk.manifest = replace(walk.manifest, machine=machine, generation="cards")
    walk.apply()
    assert walk.cards == ("e1000e", "e1000e", "virtio")
    return walk


@pytest.mark.parametrize("state", ["paused", "saved"])
def test_a_helper_card_goes_when_the_guest_allows_it(cards_only: LargeWalk, state: str) -> None:
    walk = cards_only
    if state == "paused":
        walk.become(GuestState.PAUSED, "user")
    else:
        walk.save()
    held = walk.apply(aborts=frozenset({"vm"}))
    assert "the helper card is removed later" in held.changes[-1].reason
    assert (walk.cards, walk.plan().steps) == (("e1000e", "e1000e", "virtio"), ())
    if state == "paused":
        walk.become(GuestState.RUNNING)
    else:
        walk.turn_off()
    walk.apply()
    assert walk.cards == ("e1000e", "e1000e")
    assert "bus-change" not in (walk.view.live_xml or "").partition("<devices>")[2]
    assert "To try again: virt-reconciler retry vm" in walk.plan().stalled


def test_an_orphan_says_what_it_keeps_of_a_change_of_cards(cards_only: LargeWalk) -> None:
    walk = cards_only
    mac = walk.mark.mac
    [action] = plan_deletions(walk.host, [vm("vm")]).actions
    assert f"a staged bus change to virtio is under way in it; what stays: helper card {mac}" in (
        "\n".join(action.notes)
    )


def test_a_copy_of_the_domain_says_that_it_has_a_helper_card_of_another(
    cards_only: LargeWalk,
) -> None:
    walk = cards_only
    walk.turn_off()
    other = "6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a11"
    xml = walk.view.persistent_xml.replace("<name>vm</name>", "<name>copy</name>")
    xml = xml.replace(walk.view.uuid, other).replace("/images/vm-", "/images/copy-")
    walk.host.views["copy"] = replace(walk.view, name="copy", uuid=other, persistent_xml=xml)
    copy = manifest_of(Machine("copy", interfaces=walk.manifest.machine.interfaces))
    desired = Desired.of(copy, walk.manifest)
    plan = observe(walk.host, desired).plan(PlanOptions(adopt=frozenset({"copy"})))
    [action] = [action for action in plan.actions if action.name == "copy"]
    assert (
        f"interface {walk.mark.mac} is the helper card of a bus change of another machine, and "
        "nothing manages it here: virsh detach-interface copy ethernet --mac "
        f"{walk.mark.mac} --config"
    ) in action.notes
