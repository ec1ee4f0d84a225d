"""The rules of editing: what must change beside a field, and what is refused."""

from __future__ import annotations

from typing import Tuple

import pytest

from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.xmltree import Element, parse
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Difference, DifferenceKind, align, compare

from .samples import EDITED, FOREIGN, GIB, differences, foreign


def edit(xml: str, wanted: Machine) -> Element:
    """Return the tree of a domain after it was edited to be as wanted."""
    found = read_machine(parse(xml))
    return parse(edit_domain(xml, compare(wanted, align(wanted, found))))


def domain(devices: str, head: str = "", machine: str = "pc-q35-7.2") -> str:
    """Return a small domain."""
    return (
        f"<domain type='kvm'>\n  <name>vm</name>\n  <memory unit='KiB'>2097152</memory>\n"
        f"  <vcpu>4</vcpu>\n  <os>\n    <type machine='{machine}'>hvm</type>\n  </os>\n"
        f"  {head}\n  <devices>\n    {devices}\n  </devices>\n</domain>\n"
    )


def drive(target: str, bus: str, inner: str = "", device: str = "disk") -> str:
    """Return a disk element."""
    source = f"<source file='/i/{target}.img'/>" if device == "disk" else ""
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/>{source}"
        f"<target dev='{target}' bus='{bus}'/>{inner}</disk>"
    )


def targets(root: Element) -> Tuple[str, ...]:
    return tuple(str(element.get("dev")) for element in root.iterfind("devices/disk/target"))


def at(controller: int, bus: int, unit: int) -> str:
    return f"<address type='drive' controller='{controller}' bus='{bus}' target='0' unit='{unit}'/>"


TARGET_CASES = {
    "first free name": (drive("sda", "sata"), "virtio", ("vda",)),
    "same letters, same name": (drive("sda", "sata"), "scsi", ("sda",)),
    "an empty CD-ROM holds its name": (
        drive("sdb", "virtio") + drive("sda", "sata", device="cdrom"),
        "scsi",
        ("sdb", "sda"),
    ),
    "a floppy holds its name": (drive("vda", "virtio") + drive("sda", "fdc", device="floppy"),
        "usb", ("sdb", "sda")),
    "a gap is used": (drive("vda", "virtio") + drive("sdb", "sata", device="cdrom"), "sata",
        ("sda", "sdb")),
    "a name whose place is taken is not free": (
        drive("vda", "virtio") + drive("sdz", "sata", at(0, 0, 0), device="cdrom"),
        "sata",
        ("sdb", "sdz"),
    ),
    "a host's SCSI device holds its place": (
        drive("vda", "virtio")
        + "<hostdev mode='subsystem' type='scsi'><source/>"
        + at(0, 0, 0)
        + "</hostdev>",
        "scsi",
        ("sdb",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TARGET_CASES)
def test_a_moved_disk_gets_a_target_that_is_free(case: str) -> None:
    devices, bus, expected = TARGET_CASES[case]
    found = read_machine(parse(domain(devices)))
    wanted = Machine("vm", disks=tuple(Disk(disk.name, bus=bus) for disk in found.disks or ()))
    assert targets(edit(domain(devices), wanted)) == expected


def test_many_disks_get_letters_beyond_z_and_enough_controllers() -> None:
    added = tuple(
        Disk(f"d{number}", "scsi", format="raw", source=f"/i/{number}") for number in range(31)
    )
    root = edit(domain(""), Machine("vm", disks=added))
    assert targets(root)[25:27] == ("sdz", "sdaa")
    controllers = root.findall("devices/controller[@model='virtio-scsi']")
    assert [controller.get("index") for controller in controllers] == ["0", "1", "2"]


def test_the_fifth_ide_drive_is_refused() -> None:
    drives = "".join(drive(f"hd{letter}", "ide") for letter in "abcd")
    xml = domain(drives + drive("vda", "virtio"), machine="pc-i440fx-7.2")
    with pytest.raises(TerminalError, match="ide holds 4"):
        edit(
            xml,
            Machine("vm", disks=tuple(Disk(n, "ide") for n in ("hda", "hdb", "hdc", "hdd", "vda"))),
        )


SCSI = "<controller type='scsi' index='{}' model='virtio-scsi'/>"
CONTROLLER_CASES = {
    "the last disk leaves": (drive("sda", "scsi") + SCSI.format(0), "sda", []),
    "another disk stays": (
        drive("sda", "scsi") + drive("sdb", "scsi") + SCSI.format(0), "sda", ["0"]
    ),
    "a CD-ROM stays": (
        drive("sda", "scsi") + drive("sdb", "scsi", device="cdrom") + SCSI.format(0), "sda", ["0"]
    ),
    "a host's device stays": (
        drive("sda", "scsi") + SCSI.format(0)
        + "<hostdev mode='subsystem' type='scsi'><source/></hostdev>", "sda", ["0"]
    ),
    "a higher one is in use": (
        drive("sda", "scsi") + drive("sdb", "scsi", at(1, 0, 0)) + SCSI.format(0) + SCSI.format(1),
        "sda", ["0", "1"],
    ),
    "a higher one is left": (
        drive("sda", "scsi") + drive("sdb", "scsi", at(1, 0, 0)) + SCSI.format(0) + SCSI.format(1),
        "sdb", ["0"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTROLLER_CASES)
def test_a_controller_goes_only_when_nothing_needs_it(case: str) -> None:
    devices, moved, left = CONTROLLER_CASES[case]
    found = read_machine(parse(domain(devices)))
    disks = tuple(
        Disk(disk.name, "virtio" if disk.name == moved else disk.bus) for disk in found.disks or ()
    )
    root = edit(domain(devices), Machine("vm", disks=disks))
    controllers = root.findall("devices/controller[@type='scsi']")
    assert [controller.get("index") for controller in controllers] == left


BUILT_IN_CASES = {
    ("pc-q35-7.2", "sata"): 1,
    ("pc-i440fx-7.2", "sata"): 0,
    ("pc-i440fx-7.2", "ide"): 1,
}


@pytest.mark.parametrize(("machine", "kind"), BUILT_IN_CASES)
def test_a_controller_of_the_chipset_stays(machine: str, kind: str) -> None:
    letter = "h" if kind == "ide" else "s"
    xml = domain(
        drive(f"{letter}da", kind) + f"<controller type='{kind}' index='0'/>", machine=machine
    )
    root = edit(xml, Machine("vm", disks=(Disk(f"{letter}da", "virtio"),)))
    left = root.findall(f"devices/controller[@type='{kind}']")
    assert len(left) == BUILT_IN_CASES[machine, kind]


def test_identity_survives_a_bus_change() -> None:
    xml = domain(drive("sda", "sata", "<boot order='2'/><serial>S</serial>"))
    found = align(
        Machine("vm", disks=(Disk("root", source="/i/sda.img"),)), read_machine(parse(xml))
    )
    root = parse(edit_domain(xml, compare(Machine("vm", disks=(Disk("root", "virtio"),)), found)))
    disks = read_machine(root).disks or ()
    assert [(disk.name, disk.alias, disk.boot, disk.serial) for disk in disks] == [
        ("root", "root", 2, "S")
    ]


def boots(root: Element) -> Tuple[str, ...]:
    return tuple(str(element.get("dev")) for element in root.iterfind("os/boot"))


BOOT_CASES = {
    "cdrom goes with the last drive": (("cdrom", "hd"), Machine("vm", cdroms=()), ("hd",)),
    "nothing else is left": (("cdrom",), Machine("vm", cdroms=()), ("hd",)),
    "network goes with the last card": (("network", "hd"), Machine("vm", interfaces=()), ("hd",)),
    "a device with a number ends them all": (
        ("cdrom", "hd"), Machine("vm", disks=(Disk("vda", boot=1),)), (),
    ),
    "floppy is none of our business": (("fd", "cdrom"), Machine("vm", cdroms=()), ("fd",)),
}  # fmt: skip


@pytest.mark.parametrize("case", BOOT_CASES)
def test_the_boot_order_stays_sound(case: str) -> None:
    kinds, wanted, expected = BOOT_CASES[case]
    devices = (
        drive("vda", "virtio")
        + drive("sda", "sata", device="cdrom")
        + "<interface type='network'><mac address='52:54:00:00:00:01'/></interface>"
    )
    lines = "".join(f"<boot dev='{kind}'/>" for kind in kinds)
    xml = domain(devices).replace("</type>", f"</type>{lines}")
    assert boots(edit(xml, wanted)) == expected


def orders(root: Element) -> Tuple[str, ...]:
    return tuple(str(element.get("order")) for element in root.iterfind("devices/*/boot"))


def test_a_taken_boot_number_gives_way_and_no_other_moves() -> None:
    xml = domain(
        drive("vda", "virtio", "<boot order='1'/>")
        + drive("vdb", "virtio", "<boot order='2'/>")
        + drive("vdc", "virtio")
        + "<hostdev mode='subsystem' type='pci'><boot order='4'/></hostdev>"
    )
    wanted = Machine("vm", disks=(Disk("vda"), Disk("vdb"), Disk("vdc", boot=1)))
    assert orders(edit(xml, wanted)) == ("3", "2", "1", "4")


def test_one_boot_number_for_two_devices_is_refused() -> None:
    xml = domain(drive("vda", "virtio") + drive("vdb", "virtio"))
    with pytest.raises(TerminalError, match="boot: 1 is given to more than one device"):
        edit(xml, Machine("vm", disks=(Disk("vda", boot=1), Disk("vdb", boot=1))))


TOPOLOGY = "<cpu><topology sockets='{}' dies='{}' cores='{}' threads='{}'/></cpu>"
CPU_CASES = {
    "sockets grow with the maximum": ((4, 1, 1, 1), Cpus(8), ("8", None, (8, 1, 1, 1))),
    "sockets grow by whole ones": ((1, 1, 2, 2), Cpus(8), ("8", None, (2, 1, 2, 2))),
    "cores grow where sockets cannot": ((1, 1, 4, 1), Cpus(6), ("6", None, (1, 1, 6, 1))),
    "a topology that cannot fit at all goes": ((1, 1, 3, 2), Cpus(7), ("7", None, None)),
    "fewer online, same maximum": ((1, 1, 4, 1), Cpus(2), ("4", "2", (1, 1, 4, 1))),
    "dies are kept": ((1, 2, 2, 1), Cpus(8), ("8", None, (2, 2, 2, 1))),
    "asked for in full": ((4, 1, 1, 1), Cpus(8, 8, 2, 2, 2), ("8", None, (2, 1, 2, 2))),
    "cores alone": ((4, 1, 1, 1), Cpus(cores=2), ("4", None, (2, 1, 2, 1))),
    "a maximum below the count": ((4, 1, 1, 1), Cpus(maximum=2), ("2", None, (2, 1, 1, 1))),
    "a higher maximum": ((4, 1, 1, 1), Cpus(maximum=8), ("8", "4", (8, 1, 1, 1))),
}


@pytest.mark.parametrize("case", CPU_CASES)
def test_processors_and_topology_stay_consistent(case: str) -> None:
    topology, wanted, (most, online, after) = CPU_CASES[case]
    root = edit(domain("", TOPOLOGY.format(*topology)), Machine("vm", cpus=wanted))
    vcpu, found = root.find("vcpu"), root.find("cpu/topology")
    assert vcpu is not None
    assert (vcpu.text, vcpu.get("current")) == (most, online)
    factors = found is not None and tuple(
        int(found.get(one, "1")) for one in ("sockets", "dies", "cores", "threads")
    )
    assert (factors or None) == after


NUMA = "<cpu><numa><cell id='0' cpus='0-3' memory='2097152'/></numa></cpu>"
REFUSED = {
    "more processors than NUMA cells hold": (
        domain("", NUMA), Machine("vm", cpus=Cpus(8)), "NUMA cells",
    ),
    "more memory than NUMA cells hold": (
        domain("", NUMA), Machine("vm", memory=Memory(4 * GIB)), "change both together: virsh edit vm",
    ),
    "more memory beside modules": (
        domain("<memory model='dimm'/>"), Machine("vm", memory=Memory(4 * GIB)), "memory modules",
    ),
    "more memory below maxMemory": (
        domain("", "<maxMemory slots='2'>4194304</maxMemory>"),
        Machine("vm", memory=Memory(4 * GIB)), "maxMemory",
    ),
    "a topology that does not make the maximum": (
        domain(""), Machine("vm", cpus=Cpus(4, 4, 3, 1, 1)), "3 x 1 x 1",
    ),
    "a LUN on sata": (
        domain(drive("sda", "scsi", device="lun")), Machine("vm", disks=(Disk("sda", "sata"),)), "LUN",
    ),
    "a LUN from a file": (
        domain(drive("sda", "scsi", device="lun")),
        Machine("vm", disks=(Disk("sda", source="/i/x"),)), "block device",
    ),
    "a read-only disk on sata": (
        domain(drive("vda", "virtio", "<readonly/>")),
        Machine("vm", disks=(Disk("vda", "sata"),)), "read-only",
    ),
    "read-only on sata": (
        domain(drive("sda", "sata")), Machine("vm", disks=(Disk("sda", readonly=True),)), "read-only",
    ),
    "native io with a cache": (
        domain(drive("vda", "virtio")),
        Machine("vm", disks=(Disk("vda", io="native"),)), r"disks\[vda\].io: native needs cache",
    ),
    "another chipset": (domain(""), Machine("vm", machine="pc-i440fx-7.2"), "cannot become"),
    "another UUID": (
        domain(""), Machine("vm", uuid="11111111-2222-4333-8444-555555555555"), "cannot be changed to",
    ),
    "secure boot on pc": (
        domain("", machine="pc-i440fx-7.2"), Machine("vm", firmware="uefi-secure"), "q35",
    ),
    "a VLAN on another uplink": (
        domain("<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='b'/>"
               "<vlan><tag id='2'/></vlan></interface>"),
        Machine("vm", interfaces=(Interface("52:54:00:00:00:01", network="n"),)),
        "not moved to a network with it, nor without: remove its <vlan> first: virsh edit vm",
    ),
    "a new disk without an image": (domain(""), Machine("vm", disks=(Disk("new"),)), "must be known"),
    "a new interface on nothing": (
        domain(""), Machine("vm", interfaces=(Interface("new", mac="m1"),)), "no interface with MAC m1",
    ),
    "a name that no alias can hold": (
        domain(""), Machine("vm", cdroms=(Cdrom("my disk"),)), "are allowed in libvirt's alias",
    ),
    "an unknown bus": (
        domain(drive("vda", "virtio")), Machine("vm", disks=(Disk("vda", "nvme"),)), "not one of",
    ),
    "an unknown firmware": (domain(""), Machine("vm", firmware="coreboot"), "not one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason(case: str) -> None:
    xml, wanted, reason = REFUSED[case]
    with pytest.raises(TerminalError, match=reason):
        edit(xml, wanted)


def test_a_read_only_disk_made_writable_may_move_to_sata() -> None:
    xml = domain(drive("vda", "virtio", "<readonly/>"))
    root = edit(xml, Machine("vm", disks=(Disk("vda", "sata", readonly=False),)))
    assert read_machine(root).disks == (
        Disk(
            "vda",
            "sata",
            None,
            "raw",
            "/i/vda.img",
            readonly=False,
            shareable=False,
            alias="vda",
            target="sda",
        ),
    )


def test_a_device_that_is_gone_is_said_so() -> None:
    gone = Difference(
        "disks[].cache", DifferenceKind.CHANGE, None, "none", "root", Disk("root", target="vdx")
    )
    with pytest.raises(
        TerminalError, match=r"disks\[root\].cache: the domain no longer has this device"
    ):
        edit_domain(domain(""), [gone])


@pytest.mark.parametrize("field", ["autostart", "power", "disks[].size"])
def test_what_is_not_in_the_definition_is_not_edited(field: str) -> None:
    change = Difference(field, DifferenceKind.CHANGE, None, 1, "vda" if "[]" in field else None)
    with pytest.raises(TerminalError, match="is not stored in the domain's XML"):
        edit_domain(domain(drive("vda", "virtio")), [change])


def test_the_former_chain_of_an_ejected_medium_goes() -> None:
    inner = "<backingStore type='file'><source file='/b'/></backingStore>"
    xml = domain(
        drive("sda", "sata", inner, device="cdrom").replace(
            "<target", "<source file='/i/x.iso' index='2' startupPolicy='optional'/><target"
        )
    )
    root = edit(xml, Machine("vm", cdroms=(Cdrom("sda", media="/i/y.iso"),)))
    source = root.find("devices/disk/source")
    assert source is not None
    assert dict(source.items()) == {"startupPolicy": "optional", "file": "/i/y.iso"}
    assert root.find("devices/disk/backingStore") is None
    empty = edit(xml, Machine("vm", cdroms=(Cdrom("sda", media=""),)))
    assert empty.find("devices/disk/source") is None


def shape(root: Element) -> Tuple[Tuple[str, str], ...]:
    """Return everything of a domain that no field of the model is about, in order."""
    ours = {"disk", "interface", "controller", "boot", "vcpu", "vcpus", "memory", "currentMemory",
            "topology", "model", "cpu", "os", "type", "loader", "nvram", "firmware", "features",
            "smm", "oemStrings"}  # fmt: skip
    features = {
        "serial",
        "console",
        "channel",
        "graphics",
        "video",
        "rng",
        "tpm",
        "audio",
        "redirdev",
    }
    return tuple(
        (str(element.tag), repr(sorted(element.attrib.items())) + (element.text or "").strip())
        for element in root.iter()
        if element.tag not in ours | features
        and [child.tag for child in element] != ["oemStrings"]
        and not any(up.tag in ours | features for up in element.iterancestors())
    )


@pytest.mark.parametrize("name", EDITED)
def test_what_no_field_is_about_never_changes(name: str) -> None:
    source, wanted = EDITED[name]
    before = foreign(source)
    after = edit_domain(before, differences(before, wanted))
    assert shape(parse(after)) == shape(parse(before))


@pytest.mark.parametrize("name", FOREIGN)
def test_metadata_of_others_is_the_same_to_the_byte(name: str) -> None:
    def metadata(xml: str) -> str:
        return xml[xml.index("<metadata>") : xml.index("</metadata>")]

    before = foreign(name)
    after = edit_domain(
        before, differences(before, lambda _: Machine("x", cdroms=(), graphics="none"))
    )
    assert after != before
    assert metadata(after) == metadata(before)
