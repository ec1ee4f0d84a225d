"""Compare two machines field by field.

Only what the desired side says is compared: `None` there is not managed. Devices are compared by
name, so both sides must have been aligned first (see `match`). No meaning is attached to a
difference here; that is the effect table's.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Iterator, Optional, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.core.plan import Value

Device = Union[Disk, Cdrom, Interface]


class DifferenceKind(Enum):
    """How the two sides differ."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"


@frozen
class Difference:
    """One differing field or device.

    `field` is the table's name of it (`disks[].bus`), `device` the device's name (`root`) or
    None. For ADD, `item` is the desired device; for REMOVE the observed one; for a CHANGE inside a
    device the observed one.
    """

    field: str
    kind: DifferenceKind
    observed: Value = None
    desired: Value = None
    device: Optional[str] = None
    item: Optional[Device] = None

    @property
    def path(self) -> str:
        """The path people read: `disks[root].bus`."""
        return self.field if self.device is None else self.field.replace("[]", f"[{self.device}]")

    @property
    def leaf(self) -> str:
        """The last part of the field: `bus` of `disks[].bus`."""
        return self.field.rsplit(".", 1)[-1]


def compare(desired: Machine, observed: Machine) -> Tuple[Difference, ...]:
    """Return what must change in `observed` to be as `desired` says, in the model's order."""
    return tuple(_differences("", desired, observed, None, None))


def _differences(
    prefix: str, desired: Any, observed: Any, device: Optional[str], item: Optional[Device]
) -> Iterator[Difference]:
    for name in _compared(type(desired)):  # type: ignore[arg-type]  # mypy: no class is hashable
        want = getattr(desired, name)
        if want is None:
            continue
        have = getattr(observed, name, None)
        if want == have:
            continue
        path = f"{prefix}{name}"
        if isinstance(want, tuple):
            yield from _devices(f"{path}[]", want, have or ())
        elif is_dataclass(want):
            yield from _differences(f"{path}.", want, have, device, item)
        else:
            yield Difference(path, DifferenceKind.CHANGE, _plain(have), _plain(want), device, item)


@cache
def _compared(kind: type) -> Tuple[str, ...]:
    """Return the names of the fields that are compared; a plan asks thousands of times."""
    return tuple(
        field.name
        for field in fields(kind)
        if field.name != "name" and field.metadata.get("compared", True)
    )


def _devices(
    path: str, desired: Tuple[Device, ...], observed: Tuple[Device, ...]
) -> Iterator[Difference]:
    have = {device.name: device for device in observed}
    wanted = {device.name for device in desired}
    for device in observed:
        if device.name not in wanted:
            yield Difference(path, DifferenceKind.REMOVE, device.name, None, device.name, device)
    for device in desired:
        if device.name not in have:
            yield Difference(path, DifferenceKind.ADD, None, device.name, device.name, device)
        else:
            yield from _differences(
                f"{path}.", device, have[device.name], device.name, have[device.name]
            )


def _plain(value: Union[Value, Enum]) -> Value:
    return str(value.value) if isinstance(value, Enum) else value
