"""Machines as VMware and others describe them: OVF (in an OVA) and VMX. Pure; they are strangers'.

What they name must lie beside them: a path that leads elsewhere is refused. OVF is DMTF's DSP0243,
a VMX is lines of `key = "value"`.
"""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Tuple

from reconciler.core.frozen import frozen, regex
from reconciler.core.imports import ForeignCard, ForeignMachine
from reconciler.core.units import KIB
from reconciler.core.xmltree import Element, parse
from reconciler.errors import TerminalError

MIB, GIB = KIB**2, KIB**3
# VMware's names (guestOS of a VMX; an OVF has them in another spelling) → libosinfo's short ids.
# "Next" is what a release has called its successor. Where a name has several versions: no id.
# https://github.com/vmware/pyvmomi (VirtualMachineGuestOsIdentifier).
_SYSTEMS: Mapping[str, str] = {
    "windows11": "win11",
    "windows9": "win10",
    "windows8": "win8.1",
    "windows7": "win7",
    "winxppro": "winxp",
    "windows2022srvnext": "win2k25",
    "windows2025srv": "win2k25",
    "windows2019srvnext": "win2k22",
    "windows2022srv": "win2k22",
    "windows2019srv": "win2k19",
    "windows9server": "win2k16",
    "windows9srv": "win2k16",
    "windows8server": "win2k12r2",
    "windows8srv": "win2k12r2",
    "windows7server": "win2k8r2",
    "windows7srv": "win2k8r2",
    "longhorn": "win2k8",
    "winnetenterprise": "win2k3",
    "winnetstandard": "win2k3",
    "debian13": "debian13",
    "debian12": "debian12",
    "debian11": "debian11",
    "debian10": "debian10",
    "debian9": "debian9",
    "centos7": "centos7",
    "centos8": "centos8",
    "rhel7": "rhel7-unknown",
    "rhel8": "rhel8-unknown",
    "rhel9": "rhel9-unknown",
    "rockylinux": "rocky-unknown",
    "opensuse": "opensuse-unknown",
    "sles12": "sle-unknown",
    "sles15": "sle-unknown",
}
_MOST_KEYS = 20_000


def name_system(vmware: str) -> str:
    """Return libosinfo's short id for VMware's name of a system; empty if it has none."""
    plain = vmware.lower().replace("_", "").replace("-", "")
    for end in ("guest", "64"):
        plain = plain.removesuffix(end)
    return _SYSTEMS.get(plain, "")


def refuse_path(name: str, where: str) -> None:
    """Raise TerminalError for the name of a file that is not beside the description."""
    if not name or "/" in name or "\\" in name or name in (".", "..") or "\0" in name:
        raise TerminalError(
            f"{where} names the file {name!r}, which is not beside it; import that image by its "
            "own path: source: {import: {disk: PATH}}"
        )


# VMX

_VMX_LINE = regex(r'\s*(?P<key>[A-Za-z0-9_.:-]+)\s*=\s*"(?P<value>(?:[^"|]|\|[0-9A-Fa-f]{2})*)"\s*')
_ESCAPE = regex(r"\|([0-9A-Fa-f]{2})")
_SLOT = regex(r"(?P<bus>scsi|nvme|sata|ide)(?P<controller>\d+):(?P<unit>\d+)")
_BUS_ORDER = ("scsi", "nvme", "sata", "ide")
_NO_DISK = ("cdrom", "atapi-cdrom", "floppy")
_CARD = regex(r"ethernet(?P<number>\d+)")


def parse_vmx(text: str) -> Mapping[str, str]:
    """Return the values of a VMX by their keys, in lower case. Raises TerminalError."""
    found: Dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        parts = _VMX_LINE.fullmatch(line)
        if parts is None:
            raise TerminalError(f'line {number} is not `key = "value"`; is it a VMX file?')
        found[parts["key"].lower()] = _ESCAPE.sub(
            lambda code: chr(int(code[1], 16)), parts["value"]
        )
        if len(found) > _MOST_KEYS:
            raise TerminalError(f"it has more than {_MOST_KEYS} settings")
    return found


def read_vmx(text: str) -> ForeignMachine:
    """Return the machine of a VMX. Raises TerminalError for one that is not to be imported."""
    values = parse_vmx(text)
    get = values.get
    if "guestos" not in values and "config.version" not in values:
        raise TerminalError("it has neither guestOS nor config.version; is it a VMX file?")
    if get("encryption.keysafe"):
        raise TerminalError("the machine is encrypted; remove its encryption in VMware first")
    if get("checkpoint.vmstate"):
        raise TerminalError("the machine is suspended; resume it in VMware and shut it down")
    disks = tuple(_find_disks(values))
    for name in disks:
        refuse_path(name, "it")
    is_uefi = get("firmware", "bios").lower() == "efi"
    is_secure = get("uefi.secureboot.enabled", "").upper() == "TRUE"
    return ForeignMachine(
        name=get("displayname", ""),
        system=get("guestos", ""),
        os=name_system(get("guestos", "")),
        firmware=("uefi-secure" if is_secure else "uefi") if is_uefi else "bios",
        cpus=_number(get("numvcpus", "1")),
        cores=_number(get("cpuid.corespersocket", "0")),
        memory=_number(get("memsize", "0")) * MIB,
        tpm=get("vtpm.present", "").upper() == "TRUE",
        disks=disks,
        cards=tuple(_find_cards(values)),
        remarks=tuple(_find_vmx_remarks(values)),
    )


def _find_disks(values: Mapping[str, str]) -> Iterator[str]:
    """Yield the disks in the order in which virt-v2v has them: SCSI first, IDE last."""
    slots: List[Tuple[int, int, int, str]] = []
    for key in values:
        slot = _SLOT.fullmatch(key.rpartition(".")[0]) if key.endswith(".filename") else None
        if slot is None:
            continue
        name = slot.group()
        is_absent = values.get(f"{name}.present", "TRUE").upper() == "FALSE"
        if is_absent or values.get(f"{name}.devicetype", "").lower().startswith(_NO_DISK):
            continue
        if values[key].lower().endswith(".iso"):
            continue
        order = _BUS_ORDER.index(slot["bus"])
        slots.append((order, int(slot["controller"]), int(slot["unit"]), values[key]))
    yield from (slot[-1] for slot in sorted(slots))


def _find_cards(values: Mapping[str, str]) -> Iterator[ForeignCard]:
    numbers = {
        int(found["number"]) for key in values for found in [_CARD.match(key)] if found is not None
    }
    for number in sorted(numbers):
        card = f"ethernet{number}."
        if values.get(f"{card}present", "FALSE").upper() != "TRUE":
            continue
        yield ForeignCard(
            model=values.get(f"{card}virtualdev", ""),
            mac=(values.get(f"{card}address") or values.get(f"{card}generatedaddress", "")).lower(),
            network=values.get(f"{card}networkname") or values.get(f"{card}connectiontype", ""),
        )


def _find_vmx_remarks(values: Mapping[str, str]) -> Iterator[str]:
    if any(key.startswith("pcipassthru") for key in values):
        yield "a PCI device of the host was passed through; it is left out"
    if any(key.startswith("usb") and key.endswith("autoconnect.device0") for key in values):
        yield "a USB device of the host was connected; it is left out"
    if values.get("sharedfolder0.present", "").upper() == "TRUE":
        yield "it had shared folders, which need VMware; they are left out"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0  # noqa: PLR2004


# OVF

_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_OVF2 = "http://schemas.dmtf.org/ovf/envelope/2"
_VMW = "http://www.vmware.com/schema/ovf"
_DECLARATION = regex(r"\A\ufeff?\s*<\?xml[^>]*\?>")
_CPU, _MEMORY, _NIC, _DISK = "3", "4", "10", "17"
_POWER = regex(r"byte\s*\*\s*2\s*\^\s*(?P<power>\d{1,2})")
_UNITS: Mapping[str, int] = {"": 1, "byte": 1, "bytes": 1, "kilobytes": KIB, "megabytes": MIB,
                             "gigabytes": GIB, "kb": KIB, "mb": MIB, "gb": GIB}  # fmt: skip


@frozen
class OvfFile:
    """A file that an OVF names, and whether it is packed."""

    name: str
    is_packed: bool


def read_ovf(text: str) -> ForeignMachine:
    """Return the machine of an OVF. Raises TerminalError."""
    root = parse(_DECLARATION.sub("", text, count=1))
    space = _find_space(root)
    systems = list(root.iter(f"{{{space}}}VirtualSystem"))
    if len(systems) != 1:
        raise TerminalError(f"it has {len(systems)} machines; import one that has one machine")
    system = systems[0]
    items = [_read_item(item) for item in system.iter(f"{{{space}}}Item")]
    disks = _read_disks(root, items, space)
    names = [_text(element) for element in system.iterchildren(f"{{{space}}}Name")]
    vmware = next(
        (
            element.get(f"{{{_VMW}}}osType", "")
            for element in system.iter(f"{{{space}}}OperatingSystemSection")
        ),
        "",
    )
    config = {
        element.get(f"{{{_VMW}}}key", ""): element.get(f"{{{_VMW}}}value", "")
        for element in system.iter(f"{{{_VMW}}}Config")
    }
    is_secure = config.get("bootOptions.efiSecureBootEnabled", "").lower() == "true"
    return ForeignMachine(
        name=names[0] if names and names[0] else system.get(f"{{{space}}}id", ""),
        system=vmware,
        os=name_system(vmware),
        firmware=("uefi-secure" if is_secure else "uefi")
        if config.get("firmware", "").lower() == "efi"
        else "bios",
        cpus=sum(_number(item.get("VirtualQuantity", "")) for item in _of(items, _CPU)),
        cores=max(
            (_number(item.get("CoresPerSocket", "")) for item in _of(items, _CPU)), default=0
        ),
        memory=sum(
            _number(item.get("VirtualQuantity", "")) * _unit(item.get("AllocationUnits", ""), MIB)
            for item in _of(items, _MEMORY)
        ),
        disks=disks,
        cards=tuple(
            ForeignCard(
                model=item.get("ResourceSubType", "").lower(),
                mac=item.get("Address", "").lower(),
                network=item.get("Connection", ""),
            )
            for item in _of(items, _NIC)
        ),
    )


def _find_space(root: Element) -> str:
    for space in (_OVF, _OVF2):
        if root.tag == f"{{{space}}}Envelope":
            return space
    raise TerminalError("it is not an OVF envelope of version 1 or 2")


def _read_files(root: Element, space: str) -> Mapping[str, OvfFile]:
    """Return the files by their ids."""
    found: Dict[str, OvfFile] = {}
    for element in root.iter(f"{{{space}}}File"):
        name = element.get(f"{{{space}}}href", "")
        refuse_path(name, "the OVF")
        packed = element.get(f"{{{space}}}compression", "identity") not in ("", "identity")
        packed = packed or bool(element.get(f"{{{space}}}chunkSize"))
        found[element.get(f"{{{space}}}id", "")] = OvfFile(name, packed)
    return found


def _read_disks(root: Element, items: List[Mapping[str, str]], space: str) -> Tuple[str, ...]:
    """Return the files of the disks, in the order in which the machine has them."""
    files = _read_files(root, space)
    refs = {
        element.get(f"{{{space}}}diskId", ""): element.get(f"{{{space}}}fileRef", "")
        for element in root.iter(f"{{{space}}}Disk")
    }
    names: List[str] = []
    for item in _of(items, _DISK):
        disk = item.get("HostResource", "").rpartition("/")[2]
        if disk in refs and not refs[disk]:
            continue  # a blank disk has no file
        file = files.get(refs.get(disk, ""))
        if file is None:
            raise TerminalError(f"the OVF has a disk {disk!r} of which it names no file")
        if file.is_packed:
            raise TerminalError(
                f"{file.name} is packed or in pieces; export it again without compression, or "
                "unpack it and import it by its own path: source: {import: {disk: PATH}}"
            )
        names.append(file.name)
    if len(set(names)) != len(names):
        raise TerminalError("two disks have the same file")
    return tuple(names)


def _read_item(element: Element) -> Mapping[str, str]:
    """Return the fields of one piece of hardware."""
    return {
        str(child.tag).rpartition("}")[2]: _text(child)
        for child in element
        if isinstance(child.tag, str)
    }


def _of(items: List[Mapping[str, str]], kind: str) -> List[Mapping[str, str]]:
    return [item for item in items if item.get("ResourceType") == kind]


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _unit(text: str, default: int) -> int:
    if not text:
        return default
    power = _POWER.fullmatch(text.strip())
    return 2 ** int(power["power"]) if power else _UNITS.get(text.lower(), default)
