"""A staged bus change on a real guest: the five steps, the way back, and kills in between."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import replace
from typing import Any, Callable, Optional, Tuple

import pytest

from reconciler.adapters.libvirt.host import connect
from reconciler.core.machine import Disk, Disruption, Power
from reconciler.core.manifest import BusChange, Lifecycle, MachineManifest
from reconciler.core.names import HELPER_CARD, BusChangeMark, derive_mac
from reconciler.core.plan import Action, ActionKind
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import owner_xml, read_owner
from tests.lab.guest import Guest, boot_overlays
from tests.lab.host import LabHost
from tests.real.booting import LIMIT, Bench
from tests.real.faults import Fault, FaultyHost, Killed, kill
from tests.real.looping import Looping, libvirtd
from tests.real.scenarios import BASE, card, mac_of
from tests.real.worlds import MIB, Now, Product, manifest_of

NAME = BASE.name
HELPER = f"{NAME}-bus-change.qcow2"
pytestmark = pytest.mark.dated


def manifest_on(
    bus: str, disruption: Disruption = Disruption.RESTART, lacking: str = "", model: str = ""
) -> MachineManifest:
    """Return the manifest of a machine with one disk on that bus, and a card of that model."""
    machine = replace(
        BASE,
        guest_agent=True,
        disks=(Disk("root", bus, 64 * MIB, serial="ROOT01"),),
        interfaces=(card("lan", model=model),) if model else (),
        overlays=boot_overlays(lacking=lacking),
    )
    return manifest_of(machine, Lifecycle(disruption, bus_change=BusChange("staged")))


def find_mark(product: Product) -> Optional[BusChangeMark]:
    """Return what the mark says of the bus change."""
    owner = read_owner(parse(product.xml(NAME)))
    assert owner is not None
    return owner.bus_change


def plan(product: Product, manifest: MachineManifest, **options: Any) -> Action:
    """Return what is planned of the machine."""
    [action] = product.plan(manifest, **options).actions
    return action


def lines(action: Action) -> Tuple[Tuple[str, str, str], ...]:
    """Return path, effect and the step of each line."""
    return tuple(
        (change.path, change.effect.value, change.reason.partition(":")[0])
        for change in action.changes
    )


def apply(product: Product, manifest: MachineManifest, **options: Any) -> None:
    """Apply once, without a failure."""
    for outcome in product.apply(manifest, **options):
        assert outcome.error is None, outcome.error


def wait(condition: Callable[[], Any], what: str) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"in vain until {what}"
        time.sleep(0.5)


def buses(xml: str) -> Tuple[str, ...]:
    """Return the bus of each disk of a configuration."""
    return tuple(target.get("bus", "") for target in parse(xml).iterfind("devices/disk/target"))


def models(xml: str) -> Tuple[Tuple[str, str, str], ...]:
    """Return MAC, model and type of each card of a configuration."""
    root = parse(xml)
    macs, types = (root.iterfind(f"devices/interface/{tag}") for tag in ("mac", "model"))
    return tuple(
        (mac.get("address", ""), model.get("type", ""), card.get("type", ""))
        for mac, model, card in zip(macs, types, root.iterfind("devices/interface"))
    )


def test_a_guest_is_moved_in_five_steps(bench: Bench, product: Product) -> None:
    lan = mac_of("lan")
    guest = bench.boot(manifest_on("sata", model="e1000e"))
    assert guest.drivers() == {lan: "e1000e"}
    boot_id = guest.boot_id()
    careful = manifest_on("virtio", Disruption.WHEN_OFF, model="virtio")
    assert lines(plan(product, careful)) == (
        ("disks[root].bus", "withheld", "step 1 of 5"),
        ("interfaces[lan].model", "withheld", "step 1 of 5"),
        ("busChange", "live", "step 1 of 5"),
    )
    apply(product, careful)
    helper = (derive_mac(NAME, HELPER_CARD), "virtio", "ethernet")
    assert models(product.live_xml(NAME)) == ((lan, "e1000e", "network"), helper)
    assert buses(product.live_xml(NAME)) == ("sata", "virtio")
    assert buses(product.xml(NAME)) == ("sata", "virtio")
    wait(lambda: lines(plan(product, careful))[-1][2] == "step 2 of 5", "the driver is seen")
    [_, _, proof] = plan(product, careful).changes
    assert "the guest shows the helper disk at 0000:" in proof.reason
    assert f"and the helper card {helper[0]}" in proof.reason
    assert not guest.carrier(helper[0]), "it is on no network"
    apply(product, careful)
    action = plan(product, careful)
    assert lines(action) == (
        ("disks[root].bus", "withheld", "step 3 of 5"),
        ("interfaces[lan].model", "withheld", "step 3 of 5"),
    )
    assert "when the guest is off (lifecycle.disruption is whenOff)" in action.changes[0].reason
    assert guest.boot_id() == boot_id, "nobody has asked for a restart"

    moved = manifest_on("virtio", model="virtio")
    assert lines(plan(product, moved)) == (
        ("disks[root].bus", "restart", "step 3 of 5"),
        ("interfaces[lan].model", "restart", "step 3 of 5"),
    )
    apply(product, moved)
    assert buses(product.live_xml(NAME)) == ("virtio", "virtio")
    mark = find_mark(product)
    assert mark is not None
    assert mark.started >= mark.switched > 0
    guest.wait_ready(LIMIT)
    assert guest.disk(64 * MIB)["bus"] == "virtio"
    assert guest.drivers()[lan] == "virtio_net"
    wait(lambda: lines(plan(product, moved))[-1][2] == "step 5 of 5", "the guest shows its disk")
    apply(product, moved)
    assert find_mark(product) is None
    assert buses(product.live_xml(NAME)) == buses(product.xml(NAME)) == ("virtio",)
    assert models(product.live_xml(NAME)) == models(product.xml(NAME))
    assert models(product.xml(NAME)) == ((lan, "virtio", "network"),)
    assert product.volumes() == {f"{NAME}-root.qcow2"}
    assert plan(product, moved).action is ActionKind.NONE


def test_a_guest_that_does_not_boot_comes_back(
    bench: Bench, product: Product, lab: LabHost
) -> None:
    lacking = "virtio_blk"
    guest = bench.boot(manifest_on("sata", lacking=lacking))
    moved = manifest_on("virtio", lacking=lacking)
    apply(product, moved)
    wait(lambda: lines(plan(product, moved))[0][1] == "restart", "the driver is seen")
    apply(product, moved)
    guest.wait_ready(LIMIT)
    [change] = plan(product, moved).changes
    assert "step 4 of 5: waits since" in change.reason
    assert "the guest does not show root on virtio" in change.reason

    later = Product(connect(lab.uri(), locks=Now(3600)))
    assert lines(plan(later, moved))[0][:2] == ("busChange", "restart")
    apply(later, moved)
    assert buses(product.xml(NAME)) == buses(product.live_xml(NAME)) == ("sata",)
    assert product.volumes() == {f"{NAME}-root.qcow2"}
    guest.wait_ready(LIMIT)
    assert guest.disk(64 * MIB)["bus"] == "sata"
    action = plan(product, moved)
    assert lines(action)[0][:2] == ("disks[root].bus", "withheld")
    assert "the guest does not show root on virtio. To try again: virt-reconciler retry" in (
        action.stalled
    )
    assert plan(product, manifest_on("sata", lacking=lacking)).steps != ()


def test_a_card_that_the_guest_does_not_show_comes_back(
    bench: Bench, product: Product, lab: LabHost
) -> None:
    lan, lacking = mac_of("lan"), "virtio_net"
    guest = bench.boot(manifest_on("virtio", lacking=lacking, model="e1000e"))
    former = product.xml(NAME)
    moved = manifest_on("virtio", lacking=lacking, model="virtio")
    apply(product, moved)
    assert buses(product.live_xml(NAME)) == ("virtio",), "no disk helps where no disk is moved"
    assert product.volumes() == {f"{NAME}-root.qcow2"}
    wait(lambda: lines(plan(product, moved))[0][1] == "restart", "the driver is seen")
    apply(product, moved)
    assert models(product.live_xml(NAME))[0] == (lan, "virtio", "network")
    guest.wait_ready(LIMIT)
    [change] = plan(product, moved).changes
    assert f"the guest shows no network interface with the MAC {lan} (lan)" in change.reason

    later = Product(connect(lab.uri(), locks=Now(3600)))
    assert lines(plan(later, moved))[0][:2] == ("busChange", "restart")
    apply(later, moved)
    assert models(product.xml(NAME)) == models(former) == ((lan, "e1000e", "network"),)
    guest.wait_ready(LIMIT)
    assert guest.drivers() == {lan: "e1000e"}
    assert f"with the MAC {lan} (lan). To try again" in plan(product, moved).stalled


def die(product: Product, manifest: MachineManifest, step: int, **options: Any) -> None:
    """Apply, and be killed after that effect on the host, if there are so many."""
    fault = Fault(step, kill, after=True)
    with contextlib.suppress(Killed):
        product.apply(manifest, host=FaultyHost.around(product.host, fault), **options)


def prove(product: Product) -> None:
    """Have the mark say that the guest has shown its driver."""
    owner = read_owner(parse(product.xml(NAME)))
    assert owner is not None
    assert owner.bus_change is not None
    mark = replace(owner.bus_change, proved=1)
    product.host.domains.set_metadata(NAME, owner_xml(replace(owner, bus_change=mark)), False)


@pytest.mark.parametrize("step", range(3))
def test_a_kill_after_any_effect_leaves_a_way_on_and_a_way_back(
    product: Product, step: int
) -> None:
    former, moved = (off(manifest_on(bus)) for bus in ("sata", "virtio"))
    apply(product, former)
    die(product, moved, step)
    for _ in range(2):  # what was left is removed, then the change goes on
        apply(product, moved)
    assert buses(product.xml(NAME)) == ("sata", "virtio")
    assert product.volumes() == {f"{NAME}-root.qcow2", HELPER}

    prove(product)
    die(product, moved, step)
    apply(product, moved)
    assert buses(product.xml(NAME)) == ("virtio", "virtio")

    die(product, moved, step, aborts=frozenset({NAME}))
    apply(product, moved)
    assert buses(product.xml(NAME)) == ("sata",)
    assert product.volumes() == {f"{NAME}-root.qcow2"}
    assert "ended by a person" in plan(product, moved).stalled


def off(manifest: MachineManifest) -> MachineManifest:
    """Return the manifest of a machine that nobody starts."""
    return replace(manifest, machine=replace(manifest.machine, power=Power.STOPPED))


def test_the_loop_moves_a_guest_and_a_killed_libvirtd_delays_it_only(looping: Looping) -> None:
    looping.publish(manifest_on("sata", model="e1000e"))
    looping.wait_ready(NAME)
    guest = Guest(looping.lab.uri(), NAME)
    guest.wait_ready(LIMIT)
    boot_id = guest.boot_id()
    points = ["shut_down", "start"]  # of step 3: before the first of these calls, in this order

    def hold(name: str) -> None:
        if points and name == points[0]:
            points.pop(0)
            os.kill(libvirtd(looping.lab), signal.SIGKILL)

    def is_plugged() -> bool:  # one that is killed before leaves half a card in QEMU
        live = looping.virsh("dumpxml", NAME, check=False).stdout or "<domain/>"
        is_there = buses(live) == ("sata", "virtio") and len(models(live)) == 2
        return is_there and looping.loop.queue.wait_idle(0)  # libvirt has stored it, too

    def is_moved() -> bool:
        live = looping.virsh("dumpxml", NAME, check=False).stdout or "<domain/>"
        return parse(live).get("id") is not None and set(buses(live)) == {"virtio"}

    looping.hold = hold
    looping.publish(manifest_on("virtio", model="virtio"))
    looping.wait(is_plugged, "it has the helpers", LIMIT)
    os.kill(libvirtd(looping.lab), signal.SIGKILL)
    looping.wait(is_moved, "the guest runs on its new bus", LIMIT)
    assert not points
    os.kill(libvirtd(looping.lab), signal.SIGKILL)  # and in step 4
    looping.lab.wait_until_it_answers()
    Guest(looping.lab.uri(), NAME).wait_ready(LIMIT)
    looping.wait(lambda: looping.record(NAME).condition("Ready").holds, "it is over", LIMIT)
    looping.wait(lambda: buses(stored(looping)) == ("virtio",), "the helpers are gone", LIMIT)
    assert models(stored(looping)) == ((mac_of("lan"), "virtio", "network"),)
    guest = Guest(looping.lab.uri(), NAME)
    assert guest.boot_id() != boot_id
    assert guest.disk(64 * MIB)["bus"] == "virtio"
    assert not (looping.lab.images / HELPER).exists()


def stored(looping: Looping) -> str:
    """Return the stored definition; an empty one while libvirt is away."""
    done = looping.virsh("dumpxml", "--inactive", NAME, check=False)
    return done.stdout or "<domain/>"


def test_a_running_guest_goes_back_when_a_person_says_so(bench: Bench, product: Product) -> None:
    guest = bench.boot(manifest_on("sata"))
    boot_id = guest.boot_id()
    moved, aborts = manifest_on("virtio"), frozenset({NAME})
    apply(product, moved)
    apply(product, moved, aborts=aborts)  # before the disks are moved: nobody notices
    assert buses(product.live_xml(NAME)) == buses(product.xml(NAME)) == ("sata",)
    assert product.volumes() == {f"{NAME}-root.qcow2"}
    assert guest.boot_id() == boot_id
    action = plan(product, moved)
    assert "ended by a person" in action.stalled
    assert action.steps == ()

    assert lines(plan(product, moved, retried=True))[-1] == ("busChange", "live", "step 1 of 5")
    apply(product, moved, retried=True)
    wait(lambda: lines(plan(product, moved))[0][1] == "restart", "the driver is seen")
    apply(product, moved)
    assert buses(product.live_xml(NAME)) == ("virtio", "virtio")
    guest.wait_ready(LIMIT)
    apply(product, moved, aborts=aborts)
    assert buses(product.live_xml(NAME)) == buses(product.xml(NAME)) == ("sata",)
    assert product.volumes() == {f"{NAME}-root.qcow2"}
