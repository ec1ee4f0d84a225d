"""The kernel of the tests' guest: what drives which device, and a form that starts faster."""

from __future__ import annotations

import lzma
import re
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence

# What is loaded, as the kernel's own aliases have it, for each device that the guest has or gets: a
# module costs a tenth of a second without KVM, and no guest here has a device of every kind.
MODULES = {
    "pci:*bc0Csc03i30*": ("xhci_pci",),
    "pci:*bc0Csc03i20*": ("ehci_pci",),
    "pci:*bc0Csc03i00*": ("uhci_hcd",),
    "usb:*ic08isc*": ("usb_storage", "uas"),
    "pci:v00001AF4d*": ("virtio_pci",),
    "virtio:d00000001v*": ("virtio_net",),
    "virtio:d00000002v*": ("virtio_blk",),
    "virtio:d00000003v*": ("virtio_console",),
    "virtio:d00000004v*": ("virtio_rng",),
    "virtio:d00000005v*": ("virtio_balloon",),
    "virtio:d00000008v*": ("virtio_scsi",),
    "pci:*bc01sc06i01*": ("ahci",),
    "pci:*bc01sc01i*": ("ata_piix",),
    "scsi:t-0x00*": ("sd_mod",),
    "scsi:t-0x05*": ("sr_mod",),
    "pci:v00008086d000010D3*": ("e1000e",),
    "pci:v00008086d0000100E*": ("e1000",),
    "pci:v000010ECd00008139*": ("8139cp",),
    "acpi:*": ("button", "evdev"),  # for the power button
    "fw_cfg": ("qemu_fw_cfg",),  # no device's: a test that wants to read it says `drive fw_cfg`
}
FILE_SYSTEMS = ("crc32c_generic", "ext4")  # of guests that mount a disk
# Without it the kernel waits a second before it looks at a USB disk.
PARAMETERS = {"usb_storage": "delay_use=0"}
# Where a kernel package has its modules, compressed or not.
FOLDERS = ("lib/modules", "usr/lib/modules")
ENDINGS = (".ko", ".ko.xz", ".ko.zst")


@dataclass(frozen=True)
class Modules:
    """The modules by name, decompressed, and the guest's shell function `drive ALIAS`."""

    files: Mapping[str, bytes]
    script: str


def modules_of(kernel: Path) -> Modules:
    """Return the modules that a guest of this kernel may need, with all that they need."""
    found = _Found(kernel)
    needs = {
        alias: list(dict.fromkeys(one for name in names for one in _with_needs(name, found)))
        for alias, names in MODULES.items()
    }
    files = {name: found.content(name) for names in needs.values() for name in names}
    cases = "".join(f"{alias}) {_loads(names)} ;;\n" for alias, names in needs.items())
    return Modules(files, f'drive() {{\ncase "$1" in\n{cases}esac\n}}\n')


def list_modules(kernel: Path, names: Sequence[str]) -> Mapping[str, bytes]:
    """Return modules with all that they need, decompressed, in the order in which they load."""
    found = _Found(kernel)
    needs = dict.fromkeys(each for name in names for each in _with_needs(name, found))
    return {name: found.content(name) for name in needs}


def _loads(names: List[str]) -> str:
    return "; ".join(f"load {name} {PARAMETERS.get(name, '')}".rstrip() for name in names) or ":"


class _Found:
    """The modules of a kernel by name; each file is read once."""

    def __init__(self, kernel: Path) -> None:
        self._paths = {
            path.name[: -len(ending)].replace("-", "_"): path
            for folder in FOLDERS
            for ending in ENDINGS
            for path in kernel.glob(f"{folder}/*/kernel/**/*{ending}")
        }
        if not self._paths:
            raise FileNotFoundError(f"no modules of a kernel below {kernel}")
        self._contents: Dict[str, bytes] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def content(self, name: str) -> bytes:
        if name not in self._contents:
            self._contents[name] = _read(self._paths[name])
        return self._contents[name]


def _read(module: Path) -> bytes:
    if module.suffix == ".xz":
        return lzma.decompress(module.read_bytes())
    if module.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", module], check=True, stdout=subprocess.PIPE).stdout
    return module.read_bytes()


def _with_needs(name: str, found: _Found) -> Iterator[str]:
    # A module's needs stand in its own text; so there is no need of kmod's programs.
    if name not in found:
        return  # built into this kernel
    needs = re.search(rb"\0depends=([^\0]*)\0", found.content(name))
    for one in filter(None, needs.group(1).decode().split(",") if needs else ()):
        yield from _with_needs(one.replace("-", "_"), found)
    yield name


def unpacked(bzimage: bytes) -> bytes:
    """Return the ELF file in a compressed kernel, or the kernel as it is where that is not known.

    QEMU starts it directly (PVH): without KVM the kernel's own unpacking takes 15 of 30 seconds.
    """
    sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = bzimage[start : start + length]
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    return bzimage
