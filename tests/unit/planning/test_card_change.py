"""Network cards in a staged bus change: the helper card, its proof, the switch and the way back."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional, Tuple

import pytest

from reconciler.core.guest import (
    INTERFACES,
    AddressSource,
    AgentState,
    DriverProbe,
    DriverReport,
    GuestDriver,
    GuestInterface,
    GuestProof,
    GuestReport,
    Unseen,
)
from reconciler.core.machine import Disk, Disruption, Interface, Machine, Power
from reconciler.core.manifest import BusChange, Lifecycle
from reconciler.core.names import HELPER_CARD, BusChangeMark, MovedDevice, Owner, derive_mac
from reconciler.core.plan import (
    Action,
    AttachDevice,
    Define,
    DetachDevice,
    Effect,
    InstallDriver,
    Shutdown,
)
from reconciler.core.virtio_win import DriverMedia
from reconciler.core.world import PoolView
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.bus_change import (
    add_own,
    drop_own,
    keep_former,
    revert_bus,
    switch_bus,
)
from reconciler.kinds.machine.domain.mark import drop_owner, owner_xml, read_owner, set_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.consequences import NEW_ADAPTER
from tests.unit.domain.samples import foreign
from tests.unit.planning.worlds import domain, plan
from tests.unit.windows.media import make_medium

HERE = Path(__file__).parent
Golden = Callable[[Path, str], None]
LAN, HELPER = "52:54:00:00:00:01", derive_mac("vm", HELPER_CARD)
SLOT = "<address type='pci' domain='0x0000' bus='0x{}' slot='0x01' function='0x0'/>"
CARD = (
    f"<interface type='network'><mac address='{LAN}'/><source network='default'/>"
    f"<model type='e1000'/><boot order='2'/><alias name='ua-lan'/>{SLOT.format('06')}</interface>"
)
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/images/a.qcow2'/><target dev='sda' bus='sata'/><boot order='1'/>"
    "<alias name='ua-root'/></disk>"
)
MARK = BusChangeMark(model="virtio", mac=HELPER, begun=100, moved=(MovedDevice("lan", CARD),))
STAGED, RESTART = BusChange("staged"), Disruption.RESTART
NOTHING = GuestProof(500.0)


def move(
    xml: str,
    live: Optional[str] = None,
    proof: GuestProof = NOTHING,
    lifecycle: Lifecycle = Lifecycle(),
    *,
    os: str = "win2k16",
    bus: str = "sata",
    **world: Any,
) -> Action:
    """Plan the change of the card, and of the disk if it has another bus."""
    machine = Machine(
        "vm",
        os=os,
        power=Power.STOPPED if live is None else Power.RUNNING,
        disks=(Disk("root", bus, source="/images/a.qcow2", format="qcow2"),),
        interfaces=(Interface("lan", "default", model="virtio", mac=LAN),),
    )
    pool = PoolView("default", "dir", "/images", {}, available=2**40)
    around = {"pools": {"default": pool}, "drivers": {"vm": proof}, **world}
    return plan(xml, machine, lifecycle, live=live, sizes={"/images/a.qcow2": 2**30}, **around)


def run(xml: str, number: int = 7) -> str:
    """Return the running configuration of a definition that was started."""
    return xml.replace("<domain ", f"<domain id='{number}' ", 1)


def store(action: Action) -> str:
    """Return the definition that the plan stores."""
    [xml] = [step.xml for step in action.steps if isinstance(step, Define)]
    return xml


def mark_of(xml: str) -> Optional[BusChangeMark]:
    """Return what the definition's mark says of the change."""
    owner = read_owner(parse(xml))
    assert owner is not None
    return owner.bus_change


def marked(xml: str, **values: Any) -> str:
    """Return the definition with other values in the mark."""
    owner, mark = read_owner(parse(xml)), mark_of(xml)
    assert owner is not None
    assert mark is not None
    return set_owner(xml, replace(owner, bus_change=replace(mark, **values)))


def answer(*cards: GuestInterface, number: int = 7, **report: Any) -> GuestProof:
    """Return what a Windows shows of its cards."""
    drivers = (GuestDriver("Red Hat VirtIO Ethernet Adapter", "100.93.104.26200", "1af4:1041"),)
    driver = DriverReport(DriverProbe("", "", HELPER), str(number), drivers)
    values = {"system": "mswindows", "interfaces": cards, "driver": driver, **report}
    return GuestProof(500.0, GuestReport(AgentState.ANSWERS, **values))


def shown(mac: str, name: str = "Ethernet 2") -> GuestInterface:
    """Return an interface that the guest names."""
    return GuestInterface(mac, name)


def lines(action: Action) -> Tuple[Tuple[str, str], ...]:
    """Return path and effect of each line."""
    return tuple((change.path, change.effect.value) for change in action.changes)


def slots(xml: str) -> str:
    """Return the running configuration with a free PCI slot."""
    port = "<controller type='pci' index='9' model='pcie-root-port'/></devices>"
    return run(xml).replace("</devices>", port)


def test_a_card_alone_is_moved_in_five_steps() -> None:
    xml, restart = domain(CARD + DISK), Lifecycle(RESTART)
    action = move(xml, slots(xml), lifecycle=restart)
    assert lines(action) == (("interfaces[lan].model", "withheld"), ("busChange", "live"))
    assert action.changes[1].desired == f"helper card {HELPER} (virtio), on no network"
    [define, attach] = action.steps
    assert isinstance(define, Define)
    assert isinstance(attach, AttachDevice)
    begun = define.xml
    live = run(begun)

    waiting = move(begun, live, answer(shown(LAN, "Ethernet")), restart)
    assert waiting.transient
    assert f"no network interface with the MAC {HELPER}" in waiting.changes[0].reason
    proved = move(begun, live, answer(shown(HELPER)), restart)
    assert lines(proved) == (("interfaces[lan].model", "restart"),)
    assert "by driver Red Hat VirtIO Ethernet Adapter 100.93.104.26200" in proved.changes[0].reason
    switched = store(proved)
    assert mark_of(switched) == replace(
        MARK, begun=500, proved=500, switched=500, resumes=True, generation="g1",
        driver="Red Hat VirtIO Ethernet Adapter 100.93.104.26200",
        moved=(replace(mark_of(begun).moved[0], target=LAN),),  # type: ignore[union-attr]
    )  # fmt: skip

    started = marked(switched, started=490)
    waiting = move(started, run(started, 8), answer(shown(HELPER), number=8), restart)
    assert f"no network interface with the MAC {LAN} (lan)" in waiting.changes[0].reason
    done = move(started, run(started, 8), answer(shown(LAN), number=8), restart)
    assert [type(step) for step in done.steps] == [DetachDevice, Define]
    assert mark_of(store(done)) is None
    [card] = read_machine(parse(store(done))).interfaces or ()
    assert (card.model, card.mac, card.boot, card.network) == ("virtio", LAN, 2, "default")
    assert HELPER not in store(done)


def test_the_helper_card_is_on_no_network_and_nothing_but_the_walk_sees_it() -> None:
    xml = add_own(domain(CARD), MARK)
    [_, card] = parse(xml).findall("devices/interface")
    assert card.get("type") == "ethernet"
    assert card.find("link[@state='down']") is not None
    assert card.find("rom[@enabled='no']") is not None
    assert card.find("source") is None
    assert read_machine(parse(xml)).interfaces == read_machine(parse(domain(CARD))).interfaces


def change(observed: str = "e1000", desired: str = "virtio") -> Difference:
    """Return the change of the model."""
    item = Interface("lan", "default", model=observed, mac=LAN, alias="lan")
    kind = DifferenceKind.CHANGE
    return Difference("interfaces[].model", kind, observed, desired, "lan", item)


def test_the_definition_comes_back_as_it_was() -> None:
    xml = domain(CARD)
    switched, cards = switch_bus(add_own(xml, MARK), MARK, [change()])
    [card, _] = parse(switched).findall("devices/interface")
    assert card.find("address") is None, "a card of PCI Express does not fit into that slot"
    mark = replace(MARK, moved=cards)
    assert mark.targets == (), "no disk of that name is asked for what was written"
    edited = switched.replace("network='default'", "network='other'")
    back = drop_own(revert_bus(edited, mark), mark)
    assert read_machine(parse(back)).interfaces == tuple(
        replace(card, network="other") for card in read_machine(parse(xml)).interfaces or ()
    )
    [address] = parse(back).findall("devices/interface/address")
    assert address.get("bus") == "0x06"


@pytest.mark.parametrize("name", ["windows-pc", "windows-q35"])
def test_a_disk_and_a_card_in_the_definition_of_a_windows(name: str, golden: Golden) -> None:
    xml = foreign(name)
    machine = read_machine(parse(xml))
    disk, card = (machine.disks or ())[0], (machine.interfaces or ())[0]
    kind = DifferenceKind.CHANGE
    moved = [
        Difference("disks[].bus", kind, disk.bus, "virtio", "root", disk),
        Difference("interfaces[].model", kind, card.model, "virtio", "lan", card),
    ]
    mark = replace(MARK, bus="virtio", serial="VRBC01", path="/images/vm-bus-change.qcow2")
    mark = replace(mark, moved=keep_former(xml, moved))
    prepared = add_own(xml, mark)
    switched, devices = switch_bus(prepared, mark, moved)
    mark = replace(mark, moved=devices)
    texts = {
        "before": xml,
        "step 1": prepared,
        "step 3": switched,
        "step 5": drop_own(switched, mark),
        "back": drop_own(revert_bus(switched, mark)),
    }
    stages = list(texts.items())
    diffs = [
        line
        for (former, old), (step, new) in zip(stages, stages[1:])
        for line in difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), former, step, n=1
        )
    ]
    golden(HERE / "golden" / f"{name}-walk.diff", "".join(diffs))


def test_a_card_does_not_take_a_place_back_that_another_device_has_now() -> None:
    switched, cards = switch_bus(add_own(domain(CARD), MARK), MARK, [change()])
    other = switched.replace(
        "</devices>", f"<sound model='ac97'>{SLOT.format('06')}</sound></devices>"
    )
    for taken in (other, other.replace("slot='0x01'", "slot='0x1' multifunction='on'")):
        back = parse(revert_bus(taken, replace(MARK, moved=cards)))
        assert back.findall("devices/interface/address") == []


def test_a_card_that_had_no_model_of_its_own_has_none_again() -> None:
    xml = domain(CARD.replace("<model type='e1000'/>", ""))
    mark = replace(MARK, moved=keep_former(xml, [change()]))
    switched, cards = switch_bus(xml, mark, [change()])
    back = parse(revert_bus(switched, replace(mark, moved=cards)))
    assert back.findall("devices/interface/model") == []


def test_a_card_of_the_same_kind_keeps_its_place() -> None:
    xml = domain(CARD.replace("'e1000'", "'e1000e'"))
    switched, _ = switch_bus(xml, MARK, [change("e1000e")])
    [address] = parse(switched).findall("devices/interface/address")
    assert address.get("bus") == "0x06"


def test_the_mark_of_an_earlier_version_is_read() -> None:
    former = MovedDevice("root", "<disk/>")
    mark = BusChangeMark(bus="virtio", serial="VRBC01", path="/images/x", moved=(former,))
    owner = Owner("vm", "g1", bus_change=mark)
    assert "model=" not in owner_xml(owner)
    xml = set_owner(domain(), owner)
    assert mark_of(xml) == mark
    assert (mark.aim, mark.what, mark.helpers, mark.former) == (
        "virtio", "disks", "helper disk", "former bus",
    )  # fmt: skip


LACKS: Any = {
    "the host alone names it": (
        answer(GuestInterface(HELPER, "", (), AddressSource.ARP)),
        "no network interface with the MAC",
    ),
    "interfaces are not seen": (
        answer(shown(HELPER), unseen=(Unseen(INTERFACES, "not allowed"),)),
        "its network interfaces are not seen: not allowed",
    ),
    "an earlier run": (answer(shown(HELPER), number=6), "not asked since its start"),
}


@pytest.mark.parametrize(("proof", "lack"), LACKS.values(), ids=LACKS.keys())
def test_what_the_guest_does_not_name_itself_is_no_proof(proof: GuestProof, lack: str) -> None:
    xml = domain(CARD + DISK)
    begun = store(move(xml, slots(xml)))
    [line] = move(begun, run(begun), proof).changes
    assert line.effect is Effect.WITHHELD
    assert lack in line.reason


def test_a_disk_and_a_card_are_moved_in_one_walk_and_a_later_card_when_it_is_over() -> None:
    xml = domain(CARD + DISK)
    action = move(xml, bus="virtio")
    mark = mark_of(store(action))
    assert mark is not None
    assert mark.names == {"root", "lan"}
    assert (mark.bus, mark.model, mark.aim, mark.what) == (
        "virtio", "virtio", "virtio", "disks and cards",
    )  # fmt: skip
    alone = store(move(domain(CARD.replace("e1000", "virtio") + DISK), bus="virtio"))
    later = move(
        alone.replace("<model type='virtio'/><boot", "<model type='e1000'/><boot"), bus="virtio"
    )
    [line] = [each for each in later.changes if each.path == "interfaces[lan].model"]
    assert line.reason.startswith("another bus change is under way")


@pytest.mark.parametrize(("os", "is_said"), [("win2k16", True), ("rocky9", False)])
def test_the_plan_says_what_a_windows_loses(os: str, is_said: bool) -> None:
    xml = domain(CARD + DISK)
    [line, _] = move(xml, lifecycle=Lifecycle(bus_change=STAGED), os=os).changes
    assert (NEW_ADAPTER in line.reason) is is_said
    direct = move(xml, lifecycle=Lifecycle(bus_change=BusChange("direct")), os=os)
    assert lines(direct)[0] == ("interfaces[lan].model", "offline")
    assert any(NEW_ADAPTER in note for note in direct.notes) is is_said


def test_another_guest_is_moved_at_once_unless_its_manifest_asks_for_steps() -> None:
    action = move(domain(CARD + DISK), os="rocky9")
    assert lines(action)[0] == ("interfaces[lan].model", "offline")


def test_a_card_that_only_works_worse_needs_no_proof() -> None:
    xml = domain(CARD.replace("'e1000'", "'virtio-transitional'") + DISK)
    assert lines(move(xml))[0] == ("interfaces[lan].model", "offline")


def test_a_running_guest_without_its_card_is_restarted_only_where_the_manifest_allows_it() -> None:
    xml = domain(CARD + DISK)
    begun = store(move(xml, slots(xml)))
    switched = store(move(begun, run(begun), answer(shown(HELPER)), Lifecycle(RESTART)))
    late = marked(switched, started=1)
    proof = replace(answer(number=8), now=1e6)
    action = move(late, run(late, 8), proof)
    [line] = action.changes
    assert (line.desired, line.effect) == ("former model", Effect.WITHHELD)
    assert "when the guest is off: it runs, so it is not restarted" in line.reason
    action = move(late, run(late, 8), proof, Lifecycle(RESTART))
    [stop] = [step for step in action.steps if isinstance(step, Shutdown)]
    assert not stop.force
    assert not stop.unwritten
    [card] = read_machine(parse(store(action))).interfaces or ()
    assert card.model == "e1000"


def test_a_drivers_medium_that_does_not_suit_holds_a_card_too() -> None:
    bad = DriverMedia((make_medium("0.1.271"),))
    [line] = move(domain(CARD + DISK), driver_media={"": bad}).changes
    assert "take virtio-win 0.1.248" in line.reason
    good = make_medium("0.1.248")
    action = move(domain(CARD + DISK), driver_media={"": DriverMedia((good,))})
    assert str(action.changes[1].desired).endswith(f", CD-ROM {good.path}")


@pytest.mark.parametrize(
    ("bus", "drivers"), [("sata", ["NetKVM"]), ("virtio", ["viostor", "NetKVM"])]
)
def test_the_agent_installs_the_driver_of_each_kind_of_device(bus: str, drivers: Any) -> None:
    lifecycle = Lifecycle(bus_change=BusChange("staged", install=True))
    medium = DriverMedia((make_medium("0.1.248"),))
    begun = store(
        move(domain(CARD + DISK), lifecycle=lifecycle, bus=bus, driver_media={"": medium})
    )
    action = move(
        begun, run(begun), answer(), lifecycle, bus=bus,
        driver_media={"": medium, medium.media[0].path: medium},
    )  # fmt: skip
    programs = [step.arguments[1] for step in action.steps if isinstance(step, InstallDriver)]
    assert [inf.split("\\")[1] for inf in programs] == drivers
    assert [change.desired for change in action.changes if change.path == "busChange"] == [
        f"pnputil /add-driver {inf} /install" for inf in programs
    ]


def test_libvirt_of_a_user_cannot_make_the_helper_card() -> None:
    [line] = move(domain(CARD + DISK), uri="qemu:///session").changes
    assert line.effect is Effect.WITHHELD
    assert "set lifecycle.busChange: direct" in line.reason


def test_a_definition_that_another_administrator_moved_loses_the_helper_card() -> None:
    xml = domain(CARD + DISK)
    begun = store(move(xml))
    by_hand = begun.replace("<model type='e1000'/>", "<model type='virtio'/>")
    done = drop_owner(store(move(by_hand)))
    assert HELPER not in done
