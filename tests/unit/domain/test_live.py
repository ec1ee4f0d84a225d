"""Device XML for a running guest, on what libvirt wrote of one that ran."""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

import pytest

from reconciler.core.machine import Cdrom, Disk, Interface
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.buses import needed_controllers
from reconciler.kinds.machine.domain.devices import device_xml, live_device
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Device, Difference, DifferenceKind

from .samples import foreign


def read_back(text: str) -> Any:
    """Return the device that an element says."""
    machine = read_machine(parse(f"<domain><devices>{text}</devices></domain>"))
    devices: List[Any] = [*(machine.disks or ()), *(machine.cdroms or ())]
    devices.extend(machine.interfaces or ())
    (device,) = devices
    return device


NEW = Disk("new", "scsi", format="raw", source="/i/n.img", cache="none")


def the(kind: str, number: int, name: str = "exotic") -> Device:
    """Return a device of a domain as it reads."""
    devices: Tuple[Device, ...] = getattr(read_machine(parse(foreign(name))), kind)
    return devices[number]


def test_an_attached_device_reads_as_wanted_and_fits_in() -> None:
    built = read_back(device_xml(NEW, foreign("exotic")))
    assert built == Disk(
        "new",
        "scsi",
        None,
        "raw",
        "/i/n.img",
        "none",
        readonly=False,
        shareable=False,
        alias="new",
        target="sde",
    )


def test_its_target_is_free_in_every_configuration() -> None:
    built = read_back(device_xml(NEW, foreign("windows-q35"), foreign("exotic")))
    assert built.target == "sde"


def test_a_target_that_is_given_and_free_is_kept() -> None:
    given = Disk("new", "virtio", format="raw", source="/i/n.img", target="vdx")
    assert read_back(device_xml(given, foreign("exotic"))).target == "vdx"
    taken = Disk("new", "virtio", format="raw", source="/i/n.img", target="vdb")
    assert read_back(device_xml(taken, foreign("exotic"))).target == "vda"


DEFAULT_BUS: Mapping[str, Tuple[Device, str]] = {
    "linux-q35": (Cdrom("cd"), "sata"),
    "linux-pc": (Cdrom("cd"), "ide"),
    "windows-pc": (Disk("d", format="raw", source="/i/x"), "virtio"),
}


@pytest.mark.parametrize("name", DEFAULT_BUS)
def test_a_drive_of_no_bus_gets_one_of_the_chipset(name: str) -> None:
    item, bus = DEFAULT_BUS[name]
    assert read_back(device_xml(item, foreign(name))).bus == bus


CONTROLLERS: Mapping[str, Tuple[str, Device, int]] = {
    "there is none": ("linux-q35", NEW, 1),
    "there is one": ("exotic", NEW, 0),
    "another bus": ("linux-q35", Disk("new", "virtio"), 0),
    "an interface": ("linux-q35", Interface("new", "default"), 0),
}


@pytest.mark.parametrize("case", CONTROLLERS)
def test_a_scsi_disk_may_need_its_controller_first(case: str) -> None:
    name, item, count = CONTROLLERS[case]
    expected = "<controller type='scsi' index='0' model='virtio-scsi'/>"
    assert needed_controllers(foreign(name), item) == (expected,) * count


def test_a_detached_device_is_the_whole_element_as_it_is() -> None:
    gone = Difference(
        "interfaces[]", DifferenceKind.REMOVE, "wan", None, "wan", the("interfaces", 1)
    )
    text = live_device(foreign("exotic"), gone)
    assert "".join(text.split()) in "".join(foreign("exotic").split())
    assert "<filterref filter='clean-traffic'/>" in text


def test_an_updated_device_is_the_whole_element_with_the_changes() -> None:
    item = the("interfaces", 0)
    link = Difference("interfaces[].link", DifferenceKind.CHANGE, "down", "up", "lan", item)
    bridge = Difference("interfaces[].bridge", DifferenceKind.CHANGE, "br0", "br1", "lan", item)
    text = live_device(foreign("exotic"), link, bridge)
    assert read_back(text) == Interface(
        item.name, bridge="br1", model="virtio", mac=item.name, link="up", boot=3
    )
    assert "<tag id='42'/>" in text


@pytest.mark.parametrize("media", ["", "/i/other.iso"])
def test_a_medium_is_ejected_and_changed(media: str) -> None:
    change = Difference("cdroms[].media", DifferenceKind.CHANGE, "x", media, "cd", the("cdroms", 0))
    built = read_back(live_device(foreign("exotic"), change))
    assert (built.media, built.target) == (media, "sdc")


def test_a_device_that_does_not_run_is_said_so() -> None:
    change = Difference("disks[]", DifferenceKind.REMOVE, "d", None, "d", Disk("d", target="vdz"))
    with pytest.raises(TerminalError, match=r"disks\[d\]: the domain no longer has this device"):
        live_device(foreign("exotic"), change)
