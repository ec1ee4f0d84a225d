"""Edit the memory of a domain: what the guest has now, and the most it can have.

libvirt sums up the maximum from NUMA cells and plugged modules where there are any, so in such a
domain it is not ours to set.
"""

from __future__ import annotations

from typing import Mapping, Tuple

from reconciler.core.diff import Difference
from reconciler.core.domain import layout
from reconciler.core.domain.forms import BYTES
from reconciler.core.xmltree import Element
from reconciler.errors import TerminalError

KIB = 1024

_OWNERS: Tuple[Tuple[str, str], ...] = (
    ("cpu/numa", "NUMA cells (cpu/numa)"),
    ("devices/memory", "memory modules (devices/memory)"),
    ("maxMemory", "room for memory modules (maxMemory)"),
)


def edit_memory(root: Element, differences: Mapping[str, Difference]) -> None:
    """Apply the differences of `memory`, by leaf. Raises the maximum with the size, if need be."""
    wanted = {leaf: int(one.desired or 0) for leaf, one in differences.items()}
    before = _bytes(root, "memory")
    most = max(wanted.get("maximum", before), wanted.get("size", 0))
    size = wanted.get("size", min(_bytes(root, "currentMemory") or before, most))
    if most != before:
        _refuse_owned(root)
        _write(root, "memory", most)
    if root.find("currentMemory") is not None or size != most:
        _write(root, "currentMemory", size)


def _refuse_owned(root: Element) -> None:
    for path, what in _OWNERS:
        if root.find(path) is not None:
            raise TerminalError(
                f"memory: the domain has {what}, which decide how much it can have; change both "
                f"together: {layout.edit_command(root)}"
            )


def _bytes(root: Element, tag: str) -> int:
    assert BYTES.read is not None  # noqa: S101 - for the type checker
    return int(BYTES.read(root.find(tag)) or 0)


def _write(root: Element, tag: str, size: int) -> None:
    element = layout.ensure(root, tag)
    if _bytes(root, tag) == size:
        return
    element.set("unit", "KiB")
    element.text = str(-(-size // KIB))
