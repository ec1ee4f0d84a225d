"""The loop on real libvirt: what somebody changes by hand is brought back, and nothing else done."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from reconciler.adapters.libvirt.host import connect
from reconciler.control import state
from reconciler.core import metrics
from reconciler.core.conditions import READY, RECONCILING, STALLED
from reconciler.core.machine import Cdrom, Disk, Disruption, Interface, Power
from reconciler.core.manifest import Lifecycle
from reconciler.core.records import Suspension
from reconciler.errors import Problem
from tests.lab.host import LabHost
from tests.lab.keys import vm
from tests.real.looping import Looping, killed_libvirtd, manifest, stored
from tests.real.worlds import MIB, Product


def is_running(looping: Looping, name: str = "vm") -> bool:
    return looping.virsh("domstate", name, check=False).stdout.strip() == "running"


def test_a_manifest_becomes_a_machine_and_its_own_events_change_nothing(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    assert is_running(looping)
    looping.wait_quiet()
    written = list(looping.writes)
    looping.loop.resync()
    looping.wait_quiet()
    assert looping.writes == written
    assert written.count("define") == 1


def test_a_changed_manifest_changes_the_machine(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    changed = manifest(autostart=True)
    looping.publish(changed)
    looping.wait_ready("vm", changed.generation)
    assert "Autostart:      enable" in looping.virsh("dominfo", "vm").stdout
    assert "revision='r2'" in looping.virsh("dumpxml", "vm").stdout.replace('"', "'")


def test_what_was_stopped_by_hand_is_started_again(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.wait_quiet()
    looping.virsh("destroy", "vm")
    looping.wait(lambda: is_running(looping), "it is started")
    repaired = (("field", "power"),)
    looping.wait(
        lambda: looping.meter.values.get((metrics.DRIFT_REPAIRED, repaired)) == 1, "it is counted"
    )
    assert looping.journal.lines("changed") == ["vm: created"]
    told = "vm: power: stopped -> running; someone had changed it"
    assert looping.journal.lines("drift") == [told]


def test_a_disk_taken_from_the_definition_comes_back(looping: Looping) -> None:
    disks = tuple(Disk(name, bus="virtio", size=8 * MIB, format="raw") for name in ("root", "data"))
    looping.publish(manifest(disks=disks))
    looping.wait_ready("vm")
    looping.wait_quiet()
    looping.virsh("detach-disk", "vm", "vdb", "--config")
    assert "vdb" not in looping.virsh("domblklist", "vm", "--inactive").stdout
    looping.loop.resync()  # libvirt has no event for it
    looping.wait(
        lambda: "vdb" in looping.virsh("domblklist", "vm", "--inactive").stdout, "it is back"
    )


def test_a_pulled_cable_is_put_back(looping: Looping) -> None:
    lan = Interface("lan", network="default", mac="52:54:00:00:00:07", link="up")
    looping.publish(manifest(interfaces=(lan,)))
    looping.wait_ready("vm")
    looping.wait_quiet()
    looping.virsh("domif-setlink", "vm", "52:54:00:00:00:07", "down")
    looping.loop.resync()  # libvirt has no event for it
    link = ("domif-getlink", "vm", "52:54:00:00:00:07")
    looping.wait(lambda: "up" in looping.virsh(*link).stdout, "the link is up")


def test_an_edited_definition_is_brought_back(looping: Looping) -> None:
    looping.publish(manifest(power=Power.STOPPED))
    looping.wait_ready("vm")
    looping.wait_quiet()
    xml = looping.virsh("dumpxml", "vm").stdout
    file = looping.lab.folder / "edited.xml"
    file.write_text(xml.replace("<vcpu placement='static'>1<", "<vcpu placement='static'>2<"))
    looping.virsh("define", str(file))
    told = looping.journal.lines
    looping.wait(lambda: any("cpus.count: 2" in one for one in told("drift")), "it is told")
    looping.wait_quiet()
    assert looping.virsh("vcpucount", "vm", "--active", "--config").stdout.strip() == "1"


def test_an_undefined_machine_is_made_again_and_its_disks_are_never_overwritten(
    looping: Looping,
) -> None:
    disk = Disk("root", bus="virtio", size=8 * MIB, format="raw")
    looping.publish(manifest(), manifest("with-disk", disks=(disk,), power=Power.STOPPED))
    looping.wait_ready("vm")
    looping.wait_ready("with-disk")
    looping.wait_quiet()
    [image] = looping.lab.images.glob("with-disk*")
    image.write_bytes(b"precious" + bytes(8 * MIB - 8))
    looping.virsh("undefine", "with-disk")
    looping.wait(lambda: "with-disk" in stored(looping), "it is there again with its disk")
    looping.virsh("undefine", "vm")
    looping.wait(lambda: "vm" in stored(looping), "the running one is stored again")
    looping.wait_quiet()
    assert is_running(looping)
    assert list(looping.lab.images.glob("with-disk*")) == [image]
    assert image.read_bytes().startswith(b"precious")


def test_an_apply_by_hand_at_the_same_time_does_no_harm(
    looping: Looping, own_host: LabHost
) -> None:
    disk = Disk("data", bus="virtio", size=MIB, format="raw", pool="default")
    wanted = [manifest(f"vm{number}", disks=(disk,)) for number in range(8)]
    by_hand = Product(connect(own_host.uri()))
    applying = threading.Thread(target=by_hand.apply, args=wanted[::-1])
    applying.start()
    looping.publish(*wanted)
    applying.join(300)
    assert not applying.is_alive()
    for one in wanted:
        looping.wait_ready(one.name)
    assert by_hand.plan(*wanted).is_empty
    volumes = own_host.virsh("vol-list", "default").stdout.split()[::2]
    assert volumes == [f"vm{number}-data.img" for number in range(8)]


def test_nothing_is_done_to_a_domain_that_is_not_ours(looping: Looping) -> None:
    looping.publish(manifest(power=Power.STOPPED))
    looping.wait_ready("vm")
    looping.wait_quiet()
    xml = looping.virsh("dumpxml", "vm").stdout.replace(">vm<", ">other<")
    start, end = xml.index("<uuid>"), xml.index("</uuid>")
    file = looping.lab.folder / "other.xml"
    file.write_text(xml[:start] + xml[end + 7 :])
    looping.virsh("define", str(file))
    written = list(looping.writes)
    looping.publish(manifest(power=Power.STOPPED), manifest("other"))
    looping.wait(lambda: looping.record("other").condition(STALLED).holds, "it is reported")
    assert "not managed" in looping.record("other").last_error
    assert looping.writes == written


def test_a_suspended_machine_is_left_alone_until_it_is_resumed(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.store.suspensions[vm("vm")] = Suspension("vm", 0.0)
    looping.loop.reread_orders()
    looping.virsh("destroy", "vm")
    looping.wait(lambda: looping.record("vm").state == "off", "it is seen")
    looping.wait_quiet()
    assert not is_running(looping)
    looping.store.suspensions.clear()
    looping.loop.reread_orders()
    looping.wait(lambda: is_running(looping), "it is started")


def test_a_network_that_comes_late_is_waited_for(looping: Looping) -> None:
    wanted = manifest(interfaces=(Interface("lan", network="missing"),))
    looping.publish(wanted)
    looping.wait(lambda: looping.record("vm").condition(RECONCILING).holds, "it waits")
    assert "missing" in looping.record("vm").last_error
    assert not looping.record("vm").condition(STALLED).holds
    file = looping.lab.folder / "network.xml"
    file.write_text("<network><name>missing</name><bridge name='virbr9'/></network>")
    looping.virsh("net-create", str(file))
    looping.wait_ready("vm")
    looping.virsh("net-destroy", "missing")
    looping.wait(lambda: looping.record("vm").condition(READY).holds is False, "it is reported")
    assert "net-start missing" in looping.record("vm").condition(READY).reason


def test_a_guest_starts_by_itself_when_its_bridge_and_its_medium_come_late(
    looping: Looping,
) -> None:
    bridge, medium = LateBridge(looping.lab, "br9"), looping.lab.folder / "late.iso"
    bridge.add()
    medium.write_bytes(b"CD" * 1024)
    drive = Cdrom("cd", bus="sata", media=str(medium))
    looping.publish(manifest(cdroms=(drive,), interfaces=(Interface("lan", bridge="br9"),)))
    looping.wait_ready("vm")
    looping.wait_quiet()
    bridge.remove()
    medium.rename(f"{medium}.away")
    looping.virsh("destroy", "vm")
    looping.wait(lambda: looping.record("vm").last_error, "the failure is reported")
    assert not looping.record("vm").condition(STALLED).holds
    medium.with_name("late.iso.away").rename(medium)
    bridge.add()
    looping.wait_ready("vm")
    assert is_running(looping)
    looping.virsh("destroy", "vm", check=False)
    bridge.remove()


class LateBridge:
    """A bridge of the host, which comes and goes."""

    def __init__(self, lab: LabHost, name: str) -> None:
        self._lab, self._name = lab, name

    def add(self) -> None:
        self._ip("link", "add", self._name, "type", "bridge")
        self._ip("link", "set", self._name, "up")

    def remove(self) -> None:
        self._ip("link", "del", self._name)

    def _ip(self, *words: str) -> None:
        command = ["nsenter", "-t", str(self._lab.pid()), "-n", "ip", *words]
        subprocess.run(command, check=True)


def test_a_refused_start_is_not_tried_for_ever(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    # A definition that libvirt stores and QEMU refuses.
    xml = looping.virsh("dumpxml", "--inactive", "vm").stdout
    file = looping.lab.folder / "broken.xml"
    arguments = (
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        "<qemu:arg value='-no-such-option'/></qemu:commandline></domain>"
    )
    file.write_text(xml.replace("</domain>", arguments))
    looping.virsh("define", str(file))
    looping.wait_quiet()
    looping.virsh("destroy", "vm")
    looping.wait(lambda: looping.record("vm").condition(STALLED).holds, "the failure is reported")
    looping.wait_quiet()
    starts = looping.writes.count("start")
    for _ in range(3):
        looping.loop.resync()
        looping.wait_quiet()
    assert looping.writes.count("start") == starts
    file.write_text(xml)
    looping.virsh("define", str(file))
    looping.wait(lambda: is_running(looping), "it is started once its definition is sound")


def test_a_field_that_someone_keeps_changing_back_is_left_alone_until_resumed(
    looping: Looping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MOST", 2)
    looping.publish(manifest())
    looping.wait_ready("vm")
    for _ in range(2):
        looping.virsh("destroy", "vm")
        looping.wait(lambda: is_running(looping), "it is started again")
        looping.wait_quiet()
    looping.virsh("destroy", "vm")
    looping.wait(lambda: looping.record("vm").condition(READY).holds is False, "it is left alone")
    reason = looping.record("vm").condition(READY).reason
    assert "power was changed back by someone 2 times in 10 min; left alone" in reason
    assert reason.endswith("virt-reconciler resume vm")
    looping.loop.resync()
    looping.wait_quiet()
    assert not is_running(looping)
    looping.store.retries.add(vm("vm"))  # what `resume vm` orders
    looping.loop.reread_orders()
    looping.wait(lambda: is_running(looping), "it is started again")


def test_the_rest_of_a_machine_goes_on_while_one_field_is_left_alone(
    looping: Looping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MOST", 2)
    looping.publish(manifest(autostart=True))
    looping.wait_ready("vm")
    looping.wait_quiet()
    for _ in range(3):
        looping.virsh("autostart", "--disable", "vm")
        looping.loop.resync()  # libvirt has no event for it
        looping.wait_quiet()
    assert "autostart was changed back" in looping.record("vm").condition(READY).reason
    looping.virsh("destroy", "vm")
    looping.wait(lambda: is_running(looping), "it is started again")
    looping.wait_quiet()
    assert "disable" in looping.virsh("dominfo", "vm").stdout.split("Autostart:")[1]
    assert "autostart was changed back" in looping.record("vm").condition(READY).reason


def test_a_guest_that_does_not_shut_down_holds_up_nobody(looping: Looping) -> None:
    stubborn = Lifecycle(disruption=Disruption.RESTART, shutdown_timeout=60)
    names = [f"vm{number}" for number in range(5)]  # more than there are lanes
    looping.publish(*(manifest(name, stubborn) for name in names))
    for name in names:
        looping.wait_ready(name)
    stopped = [manifest(name, stubborn, power=Power.STOPPED) for name in names]
    looping.publish(*stopped, manifest("other"))
    looping.wait_ready("other")
    assert all(is_running(looping, name) for name in names)


def test_a_restarted_libvirt_does_not_stop_the_loop(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.wait_quiet()
    with killed_libvirtd(looping.lab):
        looping.wait(lambda: "qemu" in looping.loop.shared.unreached, "the loss is noticed")
    looping.wait(lambda: not looping.loop.shared.unreached, "it is reached again")
    looping.wait(lambda: is_running(looping), "libvirt knows its guest again")
    looping.virsh("destroy", "vm")
    looping.wait(lambda: is_running(looping), "what is done by hand is undone")


def test_a_lost_connection_leaves_no_file_open(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.wait_quiet()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with killed_libvirtd(looping.lab):
            looping.wait(lambda: "qemu" in looping.loop.shared.unreached, "the loss is noticed")
        looping.wait(lambda: not looping.loop.shared.unreached, "it is reached again")
        looping.wait_ready("vm")
    looping.wait(lambda: len(os.listdir("/proc/self/fd")) <= before, "nothing is left open")


def test_what_happened_while_nobody_listened_is_found(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.wait_quiet()
    looping.loop.shared.services.news.stop()
    looping.virsh("destroy", "vm")
    looping.loop.resync()
    looping.wait(lambda: is_running(looping), "the resync finds it")


def test_an_invalid_manifest_keeps_the_last_valid_one_in_force(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.publish(problems=(Problem("vm.yaml", 3, 1, "spec", "unknown field"),))
    looping.virsh("destroy", "vm")
    looping.wait(lambda: is_running(looping), "it is kept as it was last wanted")
    assert "vm.yaml:3:1" in looping.record("vm").problem
    assert looping.journal.lines("invalid-manifest") == ["vm.yaml:3:1: spec: unknown field"]


def test_stopping_leaves_what_waits_and_the_next_start_goes_on(own_host: LabHost) -> None:
    first = Looping(own_host).start()
    lifecycle = Lifecycle(disruption=Disruption.RESTART, shutdown_timeout=300)
    first.publish(manifest("vm", lifecycle))
    first.wait_ready("vm")
    first.publish(manifest("vm", lifecycle, power=Power.STOPPED))
    first.wait(lambda: "shut_down" in first.writes, "the guest is asked to shut down")
    first.stop()  # and does not wait five minutes
    assert "resumes at its next start" in first.record("vm").last_error
    second = Looping(own_host, store=first.store).start()
    wanted = manifest(
        "vm",
        Lifecycle(disruption=Disruption.RESTART, shutdown_timeout=1, force_off=True),
        power=Power.STOPPED,
    )
    second.publish(wanted)
    second.wait_ready("vm", wanted.generation)
    assert not is_running(second)
    second.stop()
    second.virsh("undefine", "vm")
