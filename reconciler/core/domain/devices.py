"""Change one field of one device, with what must change beside it in the domain.

Most fields are written where the table says and that is all; the others are the rows below.
"""

from __future__ import annotations

from typing import Callable, Mapping, Optional

from reconciler.core.diff import Difference
from reconciler.core.domain import layout
from reconciler.core.domain.bindings import find_binding
from reconciler.core.domain.build import write_field
from reconciler.core.domain.bus import move_to_bus
from reconciler.core.domain.controllers import read_chipset
from reconciler.core.domain.slots import EXPRESS_MODELS
from reconciler.core.identity import alias_of, is_alias_name
from reconciler.core.xmltree import Element, make
from reconciler.errors import TerminalError


def change_device(root: Element, element: Element, difference: Difference) -> None:
    """Change one field of a device element, with what must change beside it."""
    special = _DEVICE_EDITS.get(difference.field)
    if special is not None:
        special(root, element, difference)
        return
    prefix, _, leaf = difference.field.partition("].")
    binding = find_binding(f"{prefix}].", leaf)
    if binding is None:
        raise TerminalError(f"{difference.path}: does not stand in the domain's definition")
    write_field(element, binding, difference.desired)


def _change_bus(root: Element, element: Element, difference: Difference) -> None:
    keep_name(element, difference.device)
    move_to_bus(root, element, str(difference.desired))


def _change_mac(_root: Element, element: Element, difference: Difference) -> None:
    keep_name(element, difference.device)
    layout.ensure(element, "mac").set("address", str(difference.desired))


def _change_model(root: Element, element: Element, difference: Difference) -> None:
    """Drop what the former model alone understood, and a slot that the new one does not fit."""
    model = layout.ensure(element, "model")
    before, after = model.get("type", ""), str(difference.desired)
    model.set("type", after)
    if not after.startswith("virtio"):
        layout.remove_children(element, "driver")
    # A model of the other kind needs a slot of the other kind, so the address does not stay.
    if read_chipset(root) == "q35" and (before in EXPRESS_MODELS) != (after in EXPRESS_MODELS):
        layout.remove_children(element, "address")


_DEVICE_EDITS: Mapping[str, Callable[[Element, Element, Difference], None]] = {
    "disks[].bus": _change_bus,
    "cdroms[].bus": _change_bus,
    "interfaces[].mac": _change_mac,
    "interfaces[].model": _change_model,
}


def keep_name(element: Element, name: Optional[str]) -> None:
    """Write the device's name down as its user alias, before what it was known by changes.

    A name that no alias can hold (a MAC, say) stays what the device is known by.
    """
    if name is None or not is_alias_name(name):
        return
    former = element.find("alias")
    if former is None:
        layout.append(element, make("alias", {"name": alias_of(name)}))
    else:
        former.set("name", alias_of(name))
