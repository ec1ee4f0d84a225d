"""What a host offers, read from capabilities that were recorded, and from what others would say."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.libvirt.capabilities import host_arch, list_machines, read_machine_caps

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def test_q35_of_debian_12() -> None:
    caps = read_machine_caps(recorded("debian12-q35.xml"))
    assert (caps.machine, caps.domain_type, caps.arch) == ("pc-q35-7.2", "kvm", "x86_64")
    assert caps.vcpu_max == 288
    assert caps.disk_buses == {"virtio", "scsi", "sata", "usb"}
    assert caps.cdrom_buses == {"scsi", "sata", "usb"}
    assert caps.firmware == {"bios", "uefi", "uefi-secure"}
    assert caps.cpu_modes == {"host-passthrough", "maximum", "host-model", "custom"}
    assert caps.graphics >= {"vnc", "spice"}
    assert caps.video >= {"vga", "virtio", "bochs"}
    assert (caps.tpm, caps.rng) == (True, True)


def test_pc_of_debian_12_has_ide_and_no_secure_boot() -> None:
    caps = read_machine_caps(recorded("debian12-pc.xml"))
    assert caps.machine == "pc-i440fx-7.2"
    assert "ide" in caps.disk_buses & caps.cdrom_buses
    assert caps.firmware == {"bios", "uefi"}


def test_a_host_without_kvm_offers_qemu_and_no_host_cpu() -> None:
    caps = read_machine_caps(recorded("debian12-q35-tcg.xml"))
    assert caps.domain_type == "qemu"
    assert "host-passthrough" not in caps.cpu_modes


def test_q35_never_has_ide_whatever_libvirt_says() -> None:
    said = recorded("debian12-q35.xml").replace("<value>fdc</value>", "<value>ide</value>")
    caps = read_machine_caps(said)
    assert "ide" not in caps.disk_buses | caps.cdrom_buses


def test_a_floppy_controller_is_no_bus_for_disks() -> None:
    assert "fdc" not in read_machine_caps(recorded("debian12-q35.xml")).disk_buses


@pytest.mark.parametrize(
    ("said", "instead", "field", "value"),
    [
        ("<value>emulator</value>", "", "tpm", False),
        ("<tpm supported='yes'>", "<tpm supported='no'>", "tpm", False),
        ("<rng supported='yes'>", "<rng supported='no'>", "rng", False),
        ("<value>cdrom</value>", "", "cdrom_buses", frozenset()),
        ("<value>efi</value>", "", "firmware", frozenset({"bios"})),
        ("<graphics supported='yes'>", "<graphics supported='no'>", "graphics", frozenset()),
    ],
)
def test_what_is_not_offered_is_not_there(
    said: str, instead: str, field: str, value: object
) -> None:
    text = recorded("debian12-q35.xml")
    assert said in text
    assert getattr(read_machine_caps(text.replace(said, instead)), field) == value


def test_an_old_libvirt_that_says_nothing_of_an_rng_has_one() -> None:
    text = recorded("debian12-q35.xml").replace("rng ", "other ").replace("</rng>", "</other>")
    assert read_machine_caps(text).rng


CAPABILITIES = """<capabilities><host><cpu><arch>x86_64</arch></cpu></host>
<guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine></arch></guest>
<guest><os_type>hvm</os_type><arch name='x86_64'>
<machine>pc-q35-rhel9.6.0</machine><machine canonical='pc-q35-rhel9.6.0'>q35</machine>
<machine canonical='pc-i440fx-rhel7.6.0'>pc</machine><machine>pc-i440fx-rhel7.6.0</machine>
</arch></guest></capabilities>"""


def test_machine_types_are_listed_short_names_first() -> None:
    assert list_machines(CAPABILITIES, host_arch(CAPABILITIES)) == [
        "pc", "q35", "pc-i440fx-rhel7.6.0", "pc-q35-rhel9.6.0",
    ]  # fmt: skip
