"""Each thing that changes beside what was asked for is a line or a note, or nothing is done."""

from __future__ import annotations

from typing import Optional

import pytest

from reconciler.core.machine import Cdrom, Cpus, Disk, Disruption, Interface, Machine, Memory
from reconciler.core.manifest import Lifecycle, Window
from reconciler.core.plan import Action, ActionKind, Define
from reconciler.core.render.text import Style, render_text
from reconciler.core.render.words import summarise
from reconciler.core.xmltree import parse
from tests.unit.planning.worlds import GIB, domain, lines, plan
from tests.unit.render.plans import plan_of

NIC = (
    "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='lab'/>"
    "</interface>"
)
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/i/a.qcow2'/><target dev='vda' bus='virtio'/></disk>"
)
DATA = DISK.replace("a.qcow2", "b.qcow2").replace("vda", "vdb")
CDROM = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
SPICE = (
    "<graphics type='spice' autoport='yes'/>"
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
    "<channel type='spiceport'><source channel='org.spice-space.webdav.0'/>"
    "<target type='virtio' name='org.spice-space.webdav.0'/></channel>"
    "<redirdev bus='usb' type='spicevmc'/><redirfilter><usbdev allow='no'/></redirfilter>"
    "<smartcard mode='passthrough' type='spicevmc'/><audio id='1' type='spice'/>"
    "<video><model type='qxl' ram='65536'/></video>"
)


def stored(action: Action) -> str:
    """Return the definition that a plan stores."""
    [xml] = (step.xml for step in action.steps if isinstance(step, Define))
    return str(xml)


def test_the_order_of_kinds_becomes_one_of_devices_that_means_the_same() -> None:
    xml = domain(DISK + DATA + NIC, os="<boot dev='network'/><boot dev='hd'/><boot dev='cdrom'/>")
    action = plan(xml, Machine("vm", disks=(Disk("vda"), Disk("vdb", boot=1))))
    assert lines(action) == (
        ("disks[vdb].boot", None, 1, "offline"),
        ("disks[vda].boot", None, 3, "offline"),
        ("interfaces[52:54:00:00:00:01].boot", None, 2, "offline"),
        ("os/boot", "network, hd, cdrom", "per-device order", "offline"),
    )


def test_a_device_that_is_given_number_two_boots_behind_what_booted_first() -> None:
    xml = domain(DISK + DATA + NIC, os="<boot dev='network'/><boot dev='hd'/>")
    action = plan(xml, Machine("vm", disks=(Disk("vda"), Disk("vdb", boot=2))))
    assert lines(action)[:3] == (
        ("disks[vdb].boot", None, 2, "offline"),
        ("disks[vda].boot", None, 3, "offline"),
        ("interfaces[52:54:00:00:00:01].boot", None, 1, "offline"),
    )


def test_what_booted_behind_a_device_is_behind_the_number_that_it_is_given() -> None:
    xml = domain(DISK + NIC, os="<boot dev='hd'/><boot dev='network'/>")
    found = lines(plan(xml, Machine("vm", disks=(Disk("vda", boot=77),))))
    assert found[:2] == (
        ("disks[vda].boot", None, 77, "offline"),
        ("interfaces[52:54:00:00:00:01].boot", None, 78, "offline"),
    )


def test_a_new_disk_with_a_boot_number_says_so_too() -> None:
    xml = domain(DISK, os="<boot dev='hd'/>")
    new = Disk("new", boot=1, source="/i/new.raw", format="raw")
    found = lines(plan(xml, Machine("vm", disks=(Disk("vda"), new))))
    assert ("os/boot", "hd", "per-device order", "offline") in found
    assert ("disks[vda].boot", None, 2, "offline") in found


def test_the_last_device_of_a_kind_takes_the_kind_with_it() -> None:
    xml = domain(DISK + CDROM, os="<boot dev='cdrom'/><boot dev='hd'/>")
    found = lines(plan(xml, Machine("vm", cdroms=())))
    assert ("os/boot", "cdrom, hd", "hd", "offline") in found


def test_without_the_last_numbered_device_libvirt_boots_from_disk() -> None:
    numbered = CDROM.replace("<readonly/>", "<readonly/><boot order='1'/>")
    found = lines(plan(domain(DISK + numbered), Machine("vm", cdroms=())))
    assert ("os/boot", "per-device order", "hd", "offline") in found


def test_what_hangs_on_spice_goes_with_it_and_each_is_a_line() -> None:
    action = plan(domain(SPICE), Machine("vm", graphics="vnc", video="virtio"))
    assert {change.path for change in action.changes} == {
        "graphics",
        "video",
        "devices/channel[com.redhat.spice.0]",
        "devices/channel[org.spice-space.webdav.0]",
        "devices/redirdev[spicevmc]",
        "devices/redirfilter",
        "devices/smartcard[spicevmc]",
        "devices/audio[spice]/@type",
    }
    assert "spice" not in stored(action)


def test_on_a_running_guest_they_wait_as_the_display_does() -> None:
    xml = domain(SPICE)
    action = plan(xml, Machine("vm", graphics="vnc", video="virtio"), live=xml)
    assert {change.effect.value for change in action.changes} == {"next-boot"}


def test_a_card_made_for_spice_that_is_not_managed_is_a_note() -> None:
    action = plan(domain(SPICE), Machine("vm", graphics="vnc"))
    assert action.notes == ("video: qxl stays, a card for SPICE; set video: virtio to replace it",)
    assert "qxl" in stored(action)


def test_a_display_of_the_asked_kind_is_kept_and_the_others_are_lines() -> None:
    vnc = "<graphics type='vnc' port='5901' passwd='hush'><listen type='address' address='::'/></graphics>"
    action = plan(domain(SPICE + vnc), Machine("vm", graphics="vnc", video="virtio"))
    assert "devices/graphics[spice]" in {one[0] for one in lines(action)}
    assert "port='5901'" in stored(action)


def test_how_a_replaced_display_listened_is_said_and_no_password_is() -> None:
    spice = (
        "<graphics type='spice' port='5901' autoport='no' passwd='hush'>"
        "<listen type='address' address='192.0.2.1'/></graphics>"
    )
    found = lines(plan(domain(spice), Machine("vm", graphics="vnc")))
    assert "hush" not in str(found)
    assert ("graphics_password", "(hidden)", None, "offline") in found
    assert ("devices/graphics[spice]/@port", "5901", "-1", "offline") in found
    assert ("devices/graphics[spice]/@passwd", "(hidden)", None, "offline") in found
    assert (
        "devices/graphics[spice]/listen/@address", "192.0.2.1", "127.0.0.1", "offline",
    ) in found  # fmt: skip


def test_acceleration_goes_with_the_last_display_that_has_opengl() -> None:
    devices = (
        "<graphics type='spice'><gl enable='yes'/></graphics>"
        "<video><model type='virtio'><acceleration accel3d='yes'/></model></video>"
    )
    found = lines(plan(domain(devices), Machine("vm", graphics="vnc")))
    path = "devices/video/model/acceleration/@accel3d"
    assert (path, "yes", "no", "offline") in found


NUMA = (
    "<cpu><topology sockets='1' cores='4' threads='2'/><numa>"
    "<cell id='0' cpus='0-3' memory='512' unit='MiB'/>"
    "<cell id='1' cpus='4-7' memory='512' unit='MiB'/></numa></cpu>"
)


@pytest.mark.parametrize(
    "cpus",
    [
        Cpus(4, sockets=1, cores=2, threads=2),
        Cpus(8, sockets=2, cores=2, threads=2),
        Cpus(16),
        Cpus(maximum=4),
    ],
)
def test_no_topology_is_changed_beside_numa_cells(cpus: Cpus) -> None:
    action = plan(domain(vcpu="<vcpu>8</vcpu>", more=NUMA), Machine("vm", cpus=cpus))
    assert action.action is ActionKind.FAILED
    assert "change both together: virsh edit vm" in action.reason


def test_fewer_processors_online_are_no_other_topology() -> None:
    action = plan(domain(vcpu="<vcpu>8</vcpu>", more=NUMA), Machine("vm", cpus=Cpus(4)))
    assert lines(action) == (("cpus.count", 8, 4, "offline"),)


def test_fewer_processors_online_are_one_line_where_more_can_be_plugged() -> None:
    xml = domain(vcpu="<vcpu placement='static' current='3'>4</vcpu>")
    found = lines(plan(xml, Machine("vm", cpus=Cpus(2, maximum=4))))
    assert found == (("cpus.count", 3, 2, "offline"),)


def test_a_whole_topology_says_how_many_processors_there_can_be() -> None:
    more = "<cpu><topology sockets='1' dies='1' cores='4' threads='2'/></cpu>"
    wanted = Machine("vm", cpus=Cpus(4, sockets=1, cores=2, threads=2))
    found = lines(plan(domain(vcpu="<vcpu>8</vcpu>", more=more), wanted))
    assert {one[:3] for one in found} == {("cpus.count", 8, 4), ("cpus.cores", 4, 2)}


def test_a_factor_that_nobody_gave_is_a_line() -> None:
    more = "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>"
    found = lines(plan(domain(more=more), Machine("vm", cpus=Cpus(4, maximum=8))))
    assert ("cpus.sockets", 1, 4, "offline") in found


def test_a_maximum_that_has_to_follow_is_a_line() -> None:
    half = "<vcpu current='1'>2</vcpu>"
    found = lines(plan(domain(vcpu=half), Machine("vm", cpus=Cpus(4))))
    assert ("cpus.maximum", 2, 4, "offline") in found


def test_tuning_of_processors_that_are_gone_is_taken_back_and_said() -> None:
    more = (
        "<cputune><vcpupin vcpu='1' cpuset='0'/><vcpupin vcpu='6' cpuset='1'/>"
        "<vcpusched vcpus='0-7' scheduler='fifo' priority='1'/>"
        "<vcpusched vcpus='5,6' scheduler='fifo' priority='2'/></cputune>"
    )
    xml = domain(vcpu="<vcpu>8</vcpu>", more=more)
    action = plan(xml, Machine("vm", cpus=Cpus(4, maximum=4)))
    paths = [one for one in lines(action) if one[0].startswith("cputune/")]
    assert [path[:3] for path in paths] == [
        ("cputune/vcpupin[6]", "vcpu=6 cpuset=1", None),
        ("cputune/vcpusched[0-7]/@vcpus", "0-7", "0-3"),
        ("cputune/vcpusched[5,6]", "vcpus=5,6 scheduler=fifo priority=2", None),
    ]


def test_new_processors_beside_pinned_ones_are_a_note() -> None:
    more = "<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='1'/></cputune>"
    [note] = plan(domain(more=more), Machine("vm", cpus=Cpus(4))).notes
    assert "processors 2, 3 are not pinned, others are; to pin them: virsh vcpupin vm" in note


def test_memory_above_a_hard_limit_is_a_note() -> None:
    more = "<memtune><hard_limit unit='GiB'>1</hard_limit></memtune>"
    [note] = plan(domain(more=more), Machine("vm", memory=Memory(2 * GIB))).notes
    assert "memtune/hard_limit is 1GiB, below 2GiB" in note


CARD = (
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='ovs0'/>"
    "<virtualport type='openvswitch'><parameters interfaceid='09b1'/></virtualport>"
    "<filterref filter='clean-traffic'/><port isolated='yes'/></interface>"
)


def moved(network: Optional[str] = None, bridge: Optional[str] = None) -> Machine:
    """Return the machine with its card elsewhere."""
    return Machine("vm", interfaces=(Interface("lan", network, bridge, mac="52:54:00:00:00:01"),))


def test_what_a_card_loses_and_keeps_where_it_goes_is_said() -> None:
    action = plan(domain(CARD), moved(network="default"))
    assert [one for one in lines(action) if "virtualport" in one[0]] == [
        ("interfaces[lan]/virtualport", "openvswitch interfaceid=09b1", None, "offline")
    ]
    [note] = action.notes
    assert "keeps its filterref (filter=clean-traffic), port (isolated=yes)" in note


USER_CARD = (
    "<interface type='user'><mac address='52:54:00:00:00:01'/>"
    "<ip family='ipv4' address='172.17.2.0' prefix='24'/><model type='virtio'/></interface>"
)


def test_a_running_card_of_another_kind_waits_for_the_next_boot() -> None:
    xml = domain(USER_CARD)
    action = plan(xml, moved(network="default"), live=xml)
    assert lines(action) == (
        ("interfaces[lan].network", None, "default", "next-boot"),
        (
            "interfaces[lan]/ip", "family=ipv4 address=172.17.2.0 prefix=24", None, "next-boot",
        ),
    )  # fmt: skip
    assert "<ip" not in stored(action)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("ethernet", "<script path='/bin/true'/><target dev='tap7' managed='no'/>"),
        (
            "hostdev' managed='yes",
            "<source><address type='pci' bus='7'/></source><driver name='vfio'/>",
        ),
    ],
)
def test_nothing_of_its_former_kind_stays_on_a_card(kind: str, parts: str) -> None:
    mac = "<mac address='52:54:00:00:00:01'/>"
    card = f"<interface type='{kind}'>{mac}{parts}</interface>"
    after = parse(stored(plan(domain(card), moved(network="default")))).find("devices/interface")
    assert after is not None
    assert [child.tag for child in after] == ["mac", "source"]
    assert (after.get("type"), after.get("managed")) == ("network", None)


def test_a_running_macvtap_of_a_network_waits_too() -> None:
    card = "<interface type='{}'><mac address='52:54:00:00:00:01'/><source network='mv' {}/></interface>"
    live = domain(card.format("direct", "dev='eno1' mode='bridge'"))
    action = plan(domain(card.format("network", "")), moved(network="default"), live=live)
    assert lines(action) == (("interfaces[lan].network", "mv", "default", "next-boot"),)


def test_a_card_keeps_its_port_on_another_bridge() -> None:
    action = plan(domain(CARD), moved(bridge="ovs1"))
    assert [one[0] for one in lines(action)] == ["interfaces[lan].bridge"]
    assert "virtualport (openvswitch interfaceid=09b1)" in action.notes[0]


def test_a_port_group_belongs_to_the_network_that_is_left() -> None:
    card = NIC.replace("network='lab'", "network='lab' portgroup='green'")
    found = lines(plan(domain(card), moved(network="default")))
    assert ("interfaces[lan]/source/@portgroup", "green", None, "offline") in found


def test_what_a_removed_disk_was_is_said_and_that_its_image_stays() -> None:
    action = plan(
        domain(DISK + DATA), Machine("vm", disks=(Disk("vda"),)), sizes={"/i/b.qcow2": GIB}
    )
    assert lines(action) == (("disks[vdb]", "virtio 1GiB, /i/b.qcow2", None, "offline"),)
    assert action.notes == ("disks[vdb]: its image stays: /i/b.qcow2 (1GiB)",)


def test_what_only_the_old_bus_understands_is_a_line() -> None:
    disk = DISK.replace("type='qcow2'", "type='qcow2' iothread='1' queues='4'")
    found = lines(plan(domain(disk), Machine("vm", disks=(Disk("vda", bus="scsi"),))))
    assert {one[0] for one in found} == {
        "disks[vda].bus", "disks[vda]/driver/@iothread", "disks[vda]/driver/@queues",
    }  # fmt: skip


def test_a_change_that_asks_for_nothing_else_has_no_other_line() -> None:
    xml = domain(DISK + NIC + CDROM, os="<boot dev='hd'/>")
    wanted = Machine(
        "vm", cpus=Cpus(4), memory=Memory(2 * GIB), cdroms=(Cdrom("sda", media="/x.iso"),)
    )
    assert {one[0] for one in lines(plan(xml, wanted))} == {
        "cpus.count",
        "memory.size",
        "cdroms[sda].media",
    }


def test_a_restart_in_the_next_window_counts_as_one() -> None:
    xml = domain(DISK)
    lifecycle = Lifecycle(Disruption.WINDOW, windows=(Window((0,), 60, 60),))
    wanted = Machine("vm", disks=(Disk("vda", cache="none"),))
    action = plan(xml, wanted, lifecycle, live=xml)
    summary = summarise(plan_of(action))
    assert (summary.next_boot, summary.restart, summary.disturbing) == (1, 1, 1)
    text = render_text(plan_of(action), Style(colour=False, unicode=True))
    assert "the running guest is restarted in the next maintenance window" in text


FIRST = "the guest boots from it first; to boot from another device, set boot: 1 on that one"


def test_the_removal_of_what_the_guest_boots_from_is_said() -> None:
    order = "<boot order='{}'/></disk>"
    second, first = (one.replace("</disk>", order.format(at)) for one, at in ((DISK, 2), (DATA, 1)))
    assert (
        f"disks[vda]: {FIRST}"
        in plan(domain(DISK + DATA), Machine("vm", disks=(Disk("vdb"),))).notes
    )
    assert not [
        note
        for note in plan(domain(DISK + DATA), Machine("vm", disks=(Disk("vda"),))).notes
        if FIRST in note
    ]
    action = plan(domain(second + first), Machine("vm", disks=(Disk("vda"),)))
    assert [note for note in action.notes if FIRST in note] == [f"disks[vdb]: {FIRST}"]
    chosen = plan(domain(DISK + DATA), Machine("vm", disks=(Disk("vdb", boot=1),)))
    assert not [note for note in chosen.notes if FIRST in note]


def test_a_disk_that_was_plugged_into_the_running_guest_alone_is_planned_away() -> None:
    action = plan(domain(DISK), Machine("vm", disks=(Disk("vda"),)), live=domain(DISK + DATA))
    assert [(path, effect) for path, _, _, effect in lines(action)] == [("disks[vdb]", "live")]
    assert action.notes == ("disks[vdb]: its image stays: /i/b.qcow2",)


def test_the_place_of_a_floppy_drive_in_the_new_order_is_a_line() -> None:
    floppy = "<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>"
    xml = domain(DISK + floppy, os="<boot dev='fd'/><boot dev='hd'/>")
    found = lines(plan(xml, Machine("vm", disks=(Disk("vda", boot=1),))))
    assert ("devices/disk[fda].boot", None, 2, "offline") in found


def test_a_second_video_card_does_not_go_without_a_line() -> None:
    cards = "<video><model type='qxl'/></video><video><model type='virtio' heads='2'/></video>"
    found = lines(plan(domain(cards), Machine("vm", video="none")))
    assert [one[0] for one in found] == ["video", "devices/video"]
    [one] = [one for one in found if one[0] == "devices/video"]
    assert one[1:] == ("virtio heads=2", None, "offline")
