"""The kernel of the tests' guest: its modules in loading order, and a form that starts faster."""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from pathlib import Path
from typing import Dict, Iterator, List

# USB first: its devices are found in the background while the rest is loaded.
MODULES = (
    "xhci_pci", "ehci_pci", "uhci_hcd", "usb_storage", "uas", "virtio_pci", "virtio_console",
    "virtio_blk", "virtio_scsi", "virtio_net", "virtio_balloon", "virtio_rng", "ahci", "ata_piix",
    "sd_mod", "sr_mod", "isofs", "e1000e", "e1000", "8139cp", "evdev", "button",
)  # fmt: skip
# Without it the kernel waits a second before it looks at a USB disk.
PARAMETERS = {"usb_storage": "delay_use=0"}
Found = Dict[str, Path]


def modules_in_order(kernel: Path) -> Dict[Path, str]:
    """Return the modules and what they need, each with its parameters, as they have to be loaded."""
    found = {_stem(path): path for path in kernel.glob("lib/modules/*/kernel/**/*.ko")}
    order: List[str] = []
    for name in MODULES:
        order += [one for one in _with_needs(name, found) if one not in order]
    return {found[one]: PARAMETERS.get(one, "") for one in order}


def _stem(path: Path) -> str:
    return path.stem.replace("-", "_")


def _with_needs(name: str, found: Found) -> Iterator[str]:
    # A module's needs stand in its own text; so there is no need of kmod's programs.
    if name not in found:
        return  # built into this kernel, or the machine's own busybox cannot unpack it
    needs = re.search(rb"\0depends=([^\0]*)\0", found[name].read_bytes())
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
