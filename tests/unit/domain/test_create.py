"""What a new machine gets that nobody said, and what a host refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

import pytest

from reconciler.core.machine import Cdrom, Cpus, Disk, Machine, Memory
from reconciler.core.world import MachineCaps
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.create import SPARE_ROOT_PORTS, complete_machine
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.domain.soundness import check_offer
from reconciler.kinds.machine.match import align, compare

from .samples import (
    CREATED,
    CREATED_FOR_ROCKY,
    GIB,
    NETWORKS,
    PC,
    Q35,
    ROCKY,
    ROOT,
    SMALL,
    TCG,
    create,
)

ALL = {**CREATED, **CREATED_FOR_ROCKY}


@pytest.mark.parametrize("name", ALL)
def test_what_is_created_reads_as_completed(name: str) -> None:
    machine, caps = ALL[name]
    completed = complete_machine(machine, caps, NETWORKS)
    found = read_machine(parse(create(machine, caps)))
    assert compare(completed, align(completed, found)) == ()
    assert compare(machine, align(machine, found)) == ()


@pytest.mark.parametrize("name", ALL)
def test_what_is_created_is_on_offer_and_ours(name: str) -> None:
    machine, caps = ALL[name]
    assert check_offer(complete_machine(machine, caps, NETWORKS), caps) == ()
    owner = read_owner(parse(create(machine, caps)))
    assert owner is not None
    assert owner.name == "vm"


@pytest.mark.parametrize("name", ALL)
def test_the_machine_type_is_named_and_the_emulator_never(name: str) -> None:
    machine, caps = ALL[name]
    root = parse(create(machine, caps))
    assert root.get("type") == caps.domain_type
    kind = root.find("os/type")
    assert kind is not None
    assert kind.get("machine") == caps.machine
    assert root.find("devices/emulator") is None
    loader = root.find("os/loader")
    assert loader is None or loader.text is None


@pytest.mark.parametrize(("caps", "ports"), [(Q35, SPARE_ROOT_PORTS), (PC, 0)])
def test_q35_has_room_to_plug_devices_in(caps: MachineCaps, ports: int) -> None:
    root = parse(create(SMALL, caps))
    assert len(root.findall("devices/controller[@model='pcie-root-port']")) == ports


DEFAULTS = {
    ("debian12", Q35): ("virtio", "sata", "virtio", "virtio", "vnc", True, False),
    (None, Q35): ("virtio", "sata", "virtio", "virtio", "vnc", True, False),
    ("debian12", PC): ("virtio", "ide", "virtio", "virtio", "vnc", True, False),
    ("rocky9", ROCKY): ("virtio", "sata", "virtio", "virtio", "vnc", True, False),
    ("win2k16", Q35): ("sata", "sata", "e1000e", "vga", "vnc", False, False),
    ("win2k16", PC): ("ide", "ide", "e1000", "vga", "vnc", False, False),
    ("win11", Q35): ("sata", "sata", "e1000e", "vga", "vnc", False, True),
    ("win11", replace(Q35, tpm=False)): ("sata", "sata", "e1000e", "vga", "vnc", False, False),
    ("debian12", replace(Q35, graphics=frozenset(), rng=False)): (
        ("virtio", "sata", "virtio", "none", "none", False, False)
    ),
}


@pytest.mark.parametrize(("os", "caps"), DEFAULTS)
def test_defaults_are_those_of_the_system(os: str, caps: MachineCaps) -> None:
    machine = Machine("vm", os=os, memory=Memory(GIB), disks=(ROOT,), cdroms=(Cdrom("cd"),))
    made = complete_machine(machine, caps, NETWORKS)
    assert made.disks
    assert made.cdroms
    assert made.interfaces
    found = (made.disks[0].bus, made.cdroms[0].bus, made.interfaces[0].model)
    assert (*found, made.video, made.graphics, made.rng, made.tpm) == DEFAULTS[os, caps]


MODES = {
    "kvm": (Q35, "host-passthrough"),
    "kvm without passthrough": (replace(Q35, cpu_modes=frozenset({"host-model"})), "host-model"),
    "no kvm": (TCG, "maximum"),
    "nothing known": (replace(Q35, cpu_modes=frozenset()), None),
}


@pytest.mark.parametrize("case", MODES)
def test_the_cpu_is_the_best_on_offer(case: str) -> None:
    caps, mode = MODES[case]
    cpus = complete_machine(SMALL, caps, NETWORKS).cpus
    assert cpus is not None
    assert cpus.mode == mode


def test_what_is_said_is_never_overruled() -> None:
    said = complete_machine(CREATED["everything"][0], Q35, NETWORKS)
    assert compare(CREATED["everything"][0], said) == ()


def test_no_network_no_interface() -> None:
    machine = Machine("vm", memory=Memory(GIB))
    assert complete_machine(machine, Q35, {}).interfaces == ()
    assert complete_machine(replace(machine, interfaces=()), Q35, NETWORKS).interfaces == ()


def test_targets_pass_over_those_that_are_given() -> None:
    disks = (Disk("a"), Disk("b", target="vda"), Disk("c", bus="sata"))
    made = complete_machine(Machine("vm", memory=Memory(GIB), disks=disks), Q35, {}).disks or ()
    assert [one.target for one in made] == ["vdb", "vda", "sda"]


def test_a_machine_without_memory_cannot_be_made() -> None:
    with pytest.raises(TerminalError, match="memory"):
        complete_machine(Machine("vm", cpus=Cpus(1)), Q35, NETWORKS)


OFFERS: dict[str, Tuple[Machine, MachineCaps, Tuple[str, ...]]] = {
    "nothing said, nothing refused": (Machine("vm"), Q35, ()),
    "ide on q35": (
        Machine("vm", disks=(Disk("root", "ide"),)), Q35,
        ("disks[root].bus: ide is not available for pc-q35-7.2; available: sata, scsi, usb, virtio",),
    ),
    "a CD-ROM on virtio": (Machine("vm", cdroms=(Cdrom("cd", "virtio"),)), Q35, ("cdroms[cd].bus",)),
    "SPICE on Rocky": (Machine("vm", graphics="spice"), ROCKY, ("graphics: spice",)),
    "QXL on Rocky": (Machine("vm", video="qxl"), ROCKY, ("video: qxl",)),
    "no display": (Machine("vm", graphics="none", video="none"), ROCKY, ()),
    "secure boot on pc": (Machine("vm", firmware="uefi-secure"), PC, ("firmware: uefi-secure needs",)),
    "no UEFI on this host": (
        Machine("vm", firmware="uefi"), replace(Q35, firmware=frozenset({"bios"})),
        ("firmware: uefi is not available for pc-q35-7.2; available: bios",),
    ),
    "no TPM, no rng": (
        Machine("vm", tpm=True, rng=True), replace(Q35, tpm=False, rng=False), ("tpm:", "rng:"),
    ),
    "too many processors": (Machine("vm", cpus=Cpus(300)), Q35, ("cpus.count: 300",)),
    "too many to plug in": (Machine("vm", cpus=Cpus(2, 300)), Q35, ("cpus.maximum: 300",)),
    "a topology of another size": (
        Machine("vm", cpus=Cpus(4, sockets=3, cores=1, threads=1)), Q35, ("cpus: sockets",),
    ),
    "a topology that cannot be completed": (Machine("vm", cpus=Cpus(4, cores=3)), Q35, ("cpus: ",)),
    "a topology that can": (Machine("vm", cpus=Cpus(4, cores=2)), Q35, ()),
    "host-passthrough without KVM": (
        Machine("vm", cpus=Cpus(mode="host-passthrough")),
        replace(TCG, cpu_modes=frozenset({"maximum"})), ("cpus.mode: host-passthrough",),
    ),
    "a serial that the guest would not see whole": (
        Machine("vm", disks=(Disk("root", "virtio", serial="x" * 21),)), Q35,
        ("disks[root].serial",),
    ),
    "a long serial on scsi": (Machine("vm", disks=(Disk("r", "scsi", serial="x" * 36),)), Q35, ()),
    "read-only on sata": (
        Machine("vm", disks=(Disk("root", "sata", readonly=True),)), Q35, ("disks[root].readonly",),
    ),
    "native io with a cache": (
        Machine("vm", disks=(Disk("root", io="native", cache="writeback"),)), Q35,
        ("disks[root].io: native needs cache none",),
    ),
    "native io alone": (Machine("vm", disks=(Disk("root", io="native"),)), Q35, ()),
    "everything at once": (
        Machine("vm", disks=(Disk("a", "ide"), Disk("b", "ide")), graphics="spice"), ROCKY,
        ("disks[a].bus", "disks[b].bus", "graphics"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OFFERS)
def test_what_a_host_does_not_offer_is_refused_by_field(case: str) -> None:
    machine, caps, expected = OFFERS[case]
    found = check_offer(machine, caps)
    assert len(found) == len(expected), found
    assert all(one.startswith(start) for one, start in zip(found, expected)), found
