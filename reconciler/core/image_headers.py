"""What the first bytes of a qcow2 image say of it. Pure."""

from __future__ import annotations

import struct

MAGIC = b"QFI\xfb"
# Offsets and bits are those of QEMU's docs/interop/qcow2.txt.
_VERSION, _BACKING, _SIZE, _FEATURES = 4, 8, 24, 72
_LONG_HEADER = 104
_CORRUPT, _EXTERNAL_DATA = 1 << 1, 1 << 2
_METADATA = 64 * 2**20  # bytes that a qcow2 may have beside the data


def find_capacity(start: bytes) -> int:
    """Return what the guest sees of a qcow2 image; 0 for another one."""
    return _read(">Q", start, _SIZE) if start.startswith(MAGIC) else 0


def find_most(start: bytes) -> int:
    """Return how large the file of an image may be by its header; 0 for any size."""
    return 2 * find_capacity(start) + _METADATA if start.startswith(MAGIC) else 0


def find_flaw(start: bytes, image_format: str) -> str:
    """Return what is wrong with the beginning of an image of that format; empty if nothing is."""
    is_qcow2 = start.startswith(MAGIC)
    if image_format == "raw":
        return "it is qcow2, not raw; set spec.image.format: qcow2" if is_qcow2 else ""
    if not is_qcow2:
        return "it is not a qcow2 image; if it is a raw one, set spec.image.format: raw"
    if _read(">Q", start, _BACKING):
        return "it lies over another image, so it is not complete without that"
    is_long = _read(">I", start, _VERSION) > 2 and len(start) >= _LONG_HEADER  # noqa: PLR2004
    features = _read(">Q", start, _FEATURES) if is_long else 0
    if features & _EXTERNAL_DATA:
        return "its data is in another file"
    return "it is marked as corrupt (qemu-img check)" if features & _CORRUPT else ""


def _read(form: str, start: bytes, offset: int) -> int:
    """Return a number of a header; 0 beyond the end of a file that is cut off."""
    if len(start) < offset + struct.calcsize(form):
        return 0
    number: int = struct.unpack_from(form, start, offset)[0]
    return number
