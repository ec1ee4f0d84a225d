"""What the host offers for one machine type, out of libvirt's domain capabilities. Pure."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Union

from reconciler.core.field_table import TABLES
from reconciler.core.fields import Offer
from reconciler.core.machine import chipset_of
from reconciler.core.world import MachineCaps
from reconciler.core.xmltree import Element, parse

# Buses that a manifest can ask for; `fdc` is for floppies, of which we have no model.
BUSES = frozenset({"virtio", "scsi", "sata", "ide", "usb"})
CDROM_BUSES = frozenset({"scsi", "sata", "ide", "usb"})


def read_machine_caps(xml: str) -> MachineCaps:
    """Build the value from `<domainCapabilities>`."""
    root = parse(xml)
    machine = root.findtext("machine") or ""
    buses = _buses(root, machine)
    has_cdrom = _offers(root, "disk", "diskDevice", "cdrom")
    vcpu = root.find("vcpu")
    return MachineCaps(
        machine=machine,
        domain_type=root.findtext("domain") or "",
        arch=root.findtext("arch") or "",
        vcpu_max=1 if vcpu is None else int(vcpu.get("max", "1")),
        disk_buses=buses,
        cdrom_buses=buses & CDROM_BUSES if has_cdrom else frozenset(),
        firmware=_firmware(root),
        rng=_has_rng(root),
        cpu_models=_values(root, "cpu/mode[@name='custom']/model"),
        emulator=root.findtext("path") or "",
        **_read_offers(root),
    )


def _read_offers(root: Element) -> Dict[str, Any]:
    """Return what is in one place of the capabilities, by the table of fields."""
    fields = (field for table in TABLES.values() for field in table)
    offers = (field.offer for field in fields if field.offer and field.offer.path)
    return {offer.caps: _read_offer(root, offer) for offer in offers}


def _read_offer(root: Element, offer: Offer) -> Union[bool, FrozenSet[str]]:
    path, _, name = offer.path.partition("/@")
    found = list(root.iterfind(path))
    if offer.always is False:
        return bool(found)
    return frozenset((place.get(name) if name else place.text) or "" for place in found)


def list_machines(capabilities: str, arch: str) -> List[str]:
    """Return the aliases (`q35`) that the host's capabilities offer, then the full names."""
    root = parse(capabilities)
    found = root.findall(f"guest/arch[@name='{arch}']/machine")
    aliases = {element.text or "" for element in found if element.get("canonical")}
    names = {element.text or "" for element in found} - aliases
    return [*sorted(aliases), *sorted(names)]


def host_arch(capabilities: str) -> str:
    """Return the host's own architecture."""
    return parse(capabilities).findtext("host/cpu/arch") or ""


def _buses(root: Element, machine: str) -> FrozenSet[str]:
    """Return the disk buses on offer; q35 never has IDE, whatever an older libvirt says."""
    found = _device(root, "disk", "bus") & BUSES
    return found - {"ide"} if chipset_of(machine) == "q35" else found


def _device(root: Element, device: str, enum: str) -> FrozenSet[str]:
    return _values(root, f"devices/{device}[@supported='yes']/enum[@name='{enum}']/value")


def _offers(root: Element, device: str, enum: str, value: str) -> bool:
    return value in _device(root, device, enum)


def _values(root: Element, path: str) -> FrozenSet[str]:
    return frozenset(element.text or "" for element in root.iterfind(path))


def _firmware(root: Element) -> FrozenSet[str]:
    """Return bios, uefi, uefi-secure as far as there are images for them.

    libvirt lists `bios` only where a firmware descriptor for SeaBIOS is installed; QEMU has one
    built in on x86 all the same.
    """
    found = set()
    if (root.findtext("arch") or "") in {"x86_64", "i686"}:
        found.add("bios")
    if "efi" in _values(root, "os[@supported='yes']/enum[@name='firmware']/value"):
        found.add("uefi")
        if "yes" in _values(root, "os/loader[@supported='yes']/enum[@name='secure']/value"):
            found.add("uefi-secure")
    return frozenset(found)


def _has_rng(root: Element) -> bool:
    """Whether there is a virtio rng; libvirt older than 8.4 does not say, and has it."""
    rng = root.find("devices/rng")
    return rng is None or rng.get("supported") == "yes"
