"""Settings of one disk that libvirt refuses together, so that a plan can say it first.

The same rows hold for a disk that a manifest describes and for one that an edit leaves behind.
"""

from __future__ import annotations

from typing import Callable, Iterator, Tuple

from reconciler.core.model import Disk

# QEMU's hard disks there cannot be read-only, and a guest must not suddenly be able to write.
_WRITABLE_ONLY = frozenset({"sata", "ide"})
_DIRECT = frozenset({"none", "directsync"})

Rule = Tuple[Callable[[Disk], bool], str]

_RULES: Tuple[Rule, ...] = (
    (
        lambda disk: bool(disk.readonly) and disk.bus in _WRITABLE_ONLY,
        "readonly: a disk on bus sata or ide cannot be read-only",
    ),
    (
        lambda disk: disk.io == "native" and disk.cache not in _DIRECT,
        "io: native needs cache none or directsync",
    ),
)


def find_unsound(disk: Disk) -> Iterator[str]:
    """Yield, each with its field first, what libvirt would refuse of the disk."""
    for is_unsound, reason in _RULES:
        if is_unsound(disk):
            yield f"disks[{disk.name}].{reason}"
