"""Give each observed device the manifest's name for it, and compare two machines.

Only what the desired side says is compared: `None` there is not managed. Devices are compared by
name, so both sides must have been aligned first. No meaning is attached to a
difference here; that is the effect table's.

Identity is the user alias (`ua-NAME`) that the product writes: an alias that is a name of the
manifest decides, and nothing else counts. Every other device is recognised by what its owner sees:
image, serial, target and MAC, whatever alias another tool gave it. Where it has no alias at all,
its name in the manifest may be its target or MAC, and the only card on a network is found by that.
Never by position, and never when two devices would fit.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from reconciler.core.frozen import find_metadata, frozen, replace
from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.core.plan import Value
from reconciler.core.secret_refs import (
    SECRETS,
    Secret,
    SecretRef,
    SecretText,
    find_refs,
    write_secret,
)
from reconciler.core.secret_text import HIDDEN
from reconciler.core.units import KIB

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

    @property
    def needs_card_driver(self) -> bool:
        """Whether a network card goes to virtio, of which a system may lack the driver."""
        models = (str(self.observed or ""), str(self.desired))
        is_virtio = [model.startswith("virtio") for model in models]
        return self.field == "interfaces[].model" and is_virtio == [False, True]

    @property
    def leaves_other_kind(self) -> bool:
        """Whether a card that is on neither a network nor a bridge is to be on one of them."""
        is_uplink = self.field in ("interfaces[].network", "interfaces[].bridge")
        return is_uplink and isinstance(self.item, Interface) and self.item.uplink is not None


def compare(desired: Machine, observed: Machine) -> Tuple[Difference, ...]:
    """Return what must change in `observed` to be as `desired` says, in the model's order."""
    return tuple(_differences("", desired, observed, None, None))


def _differences(
    prefix: str, desired: Any, observed: Any, device: Optional[str], item: Optional[Device]
) -> Iterator[Difference]:
    names, read = _compared(type(desired))  # type: ignore[arg-type]  # mypy: no class is hashable
    found = read(observed) if type(observed) is type(desired) else (None,) * len(names)
    for name, want, have in zip(names, read(desired), found):
        if want is None or want == have:
            continue
        path = f"{prefix}{name}"
        if isinstance(want, tuple) and not isinstance(want, SecretRef):
            yield from _devices(f"{path}[]", want, have or ())
        elif is_dataclass(want) and not isinstance(want, SecretText):
            yield from _differences(f"{path}.", want, have, device, item)
        else:
            yield Difference(
                field=path,
                kind=DifferenceKind.CHANGE,
                observed=_plain(have),
                desired=_plain(want),
                device=device,
                item=item,
            )


@cache
def _compared(kind: type) -> Tuple[Sequence[str], Callable[[Any], Tuple[Any, ...]]]:
    """Return the names of the fields that are compared, and what reads them all at once."""
    names = [
        name
        for name, metadata in find_metadata(kind).items()
        if name != "name" and metadata.get("compared", True)
    ]
    return names, attrgetter(*names)


def _devices(
    path: str, desired: Tuple[Device, ...], observed: Tuple[Device, ...]
) -> Iterator[Difference]:
    have = {device.name: device for device in observed}
    wanted = {device.name for device in desired}
    for device in observed:
        if device.name not in wanted:
            yield Difference(
                field=path,
                kind=DifferenceKind.REMOVE,
                observed=device.name,
                desired=None,
                device=device.name,
                item=device,
            )
    for device in desired:
        if device.name not in have:
            yield Difference(
                field=path,
                kind=DifferenceKind.ADD,
                observed=None,
                desired=device.name,
                device=device.name,
                item=device,
            )
        else:
            yield from _differences(
                f"{path}.", device, have[device.name], device.name, have[device.name]
            )


def _plain(value: Union[Value, Enum, Secret]) -> Value:
    if isinstance(value, (SecretRef, SecretText)):
        return write_secret(value)
    return str(value.value) if isinstance(value, Enum) else value


def show_values(difference: Difference) -> Tuple[Value, Value]:
    """Return both sides of a change of one value, as a reader sees them.

    Of credentials that is their names: what they hold may be long, or secret in a foreign domain.
    """
    observed, desired = difference.observed, difference.desired
    if difference.field in SECRETS:
        return show_secret(observed), show_secret(desired)
    if difference.field != "credentials":
        return observed, desired
    former, new = (json.loads(str(value or "{}")) for value in (observed, desired))
    changed = {name for name, text in new.items() if former.get(name, text) != text}
    shown = (f"{name} (changed)" if name in changed else name for name in new)
    return ", ".join(former) or None, ", ".join(shown) or None


def show_secret(value: Value) -> Value:
    """Return what a reader sees of a secret: what names it, or that it is there."""
    names = find_refs(str(value))
    return str(names[0]) if names else value and HIDDEN


# libvirt shows these modes of a running guest as the CPU that they came to on this host.
RESOLVED_AT_START = frozenset({"host-model", "maximum"})

DeviceT = TypeVar("DeviceT", Disk, Cdrom, Interface)
Getter = Callable[[Any], Any]


@frozen
class DeviceKey:
    """What tells a device of the manifest, and one of the domain, to be the same.

    `any_alias` says that it holds for a device with an alias that the manifest does not name; what
    it does not hold for may be another device of ours, whose place or network is free now.
    """

    desired: Getter
    observed: Getter
    any_alias: bool = True


def _image(source: Optional[str]) -> Optional[str]:
    return posixpath.normpath(source) if source and source.startswith("/") else source


# The running configuration and the stored one give a device the same alias, whoever chose it.
_ALIAS = DeviceKey(lambda device: device.alias, lambda device: device.alias)
_TARGET = DeviceKey(lambda disk: disk.target, lambda disk: disk.target)
_TARGET_AS_NAME = DeviceKey(
    lambda disk: None if disk.target else disk.name, lambda disk: disk.target, any_alias=False
)
# Tried in this order; a device found by an earlier key is not looked for by a later one. What a
# disk holds tells more than where it is plugged in; a medium tells less, as it is changed often.
KEYS: Mapping[str, Tuple[DeviceKey, ...]] = {
    "disks": (
        _ALIAS,
        DeviceKey(lambda disk: _image(disk.source), lambda disk: _image(disk.source)),
        DeviceKey(lambda disk: disk.serial, lambda disk: disk.serial),
        _TARGET,
        _TARGET_AS_NAME,
    ),
    "cdroms": (
        _ALIAS,
        _TARGET,
        _TARGET_AS_NAME,
        DeviceKey(lambda cdrom: _image(cdrom.media), lambda cdrom: _image(cdrom.media)),
    ),
    "interfaces": (
        _ALIAS,
        DeviceKey(lambda card: card.mac, lambda card: card.mac),
        DeviceKey(lambda card: card.name, lambda card: card.mac, any_alias=False),
        DeviceKey(lambda card: card.network, lambda card: card.network, any_alias=False),
        DeviceKey(lambda card: card.bridge, lambda card: card.bridge, any_alias=False),
    ),
}


def align(desired: Machine, observed: Machine) -> Machine:
    """Return `observed` with its devices named as `desired` names them."""
    named = {
        kind: _rename(getattr(desired, kind) or (), getattr(observed, kind) or (), keys)
        for kind, keys in KEYS.items()
    }
    if all(named[kind] is (getattr(observed, kind) or ()) for kind in KEYS):
        return observed
    return replace(observed, **named)  # type: ignore[arg-type]  # the kinds are its own fields


def align_live(desired: Machine, stored: Machine, live: Machine) -> Machine:
    """Name the devices of the running guest by way of the stored definition, aligned already.

    A device that was changed in the definition (another bus, so another target) is still found
    in the running guest by what the change left alone.
    """
    return align(desired, align(stored, live))


def as_defined(live: Machine, stored: Machine) -> Machine:
    """Return the running machine with what its definition came to at the start, as defined.

    That is the CPU of a mode, and memory, of which a guest has whole MiB.
    """
    live = _keep_memory(live, stored)
    if not (live.cpus and stored.cpus) or stored.cpus.mode not in RESOLVED_AT_START:
        return live
    cpus = replace(live.cpus, mode=stored.cpus.mode, model=stored.cpus.model)
    return replace(live, cpus=cpus)


def _keep_memory(live: Machine, stored: Machine) -> Machine:
    if live.memory is None or stored.memory is None:
        return live
    maximum = _rounded(live.memory.maximum, stored.memory.maximum)
    size = _rounded(live.memory.size, stored.memory.size, maximum)
    return replace(live, memory=replace(live.memory, size=size, maximum=maximum))


def _rounded(has: Optional[int], *defined: Optional[int]) -> Optional[int]:
    """Return the first of what is defined that QEMU rounds up to what the guest has; else that."""
    found = (size for size in defined if size and has and _in_mib(size) == _in_mib(has))
    return next(found, has)


def _in_mib(size: int) -> int:
    return -(-size // KIB**2)


def _rename(
    desired: Sequence[DeviceT], observed: Sequence[DeviceT], keys: Sequence[DeviceKey]
) -> Tuple[DeviceT, ...]:
    names = _find_names(desired, observed, keys)
    taken = set(names.values())
    renamed = tuple(
        device if device.name == name else replace(device, name=name)
        for index, device in enumerate(observed)
        for name in [names.get(index) or _free(device.name, taken)]
    )
    # The same value where nothing is renamed, so that who compares can see it at once.
    return observed if renamed == observed and isinstance(observed, tuple) else renamed


def _find_names(
    desired: Sequence[DeviceT], observed: Sequence[DeviceT], keys: Sequence[DeviceKey]
) -> Dict[int, str]:
    """Return index of an observed device → its name in the manifest."""
    wanted = {device.name: device for device in desired}
    names: Dict[int, str] = {}
    for index, device in enumerate(observed):
        if device.alias is not None and wanted.pop(device.alias, None) is not None:
            names[index] = device.alias
    for key in keys:
        if not wanted or len(names) == len(observed):
            break
        for index, name in _match_by(key, wanted, observed, names):
            names[index] = name
            del wanted[name]
    return names


def _match_by(
    key: DeviceKey, wanted: Mapping[str, Any], observed: Sequence[Any], names: Mapping[int, str]
) -> List[Tuple[int, str]]:
    """Return what this key tells apart: one wanted and one observed device of the same value."""
    want = _group(key.desired, wanted.items())
    have = _group(
        key.observed,
        (
            (index, device)
            for index, device in enumerate(observed)
            if index not in names and (key.any_alias or not device.alias)
        ),
    )
    pairs = [(have.get(value, []), of_value) for value, of_value in want.items()]
    return [(found[0], name[0]) for found, name in pairs if len(found) == len(name) == 1]


def _group(key: Getter, items: Iterable[Tuple[Any, Any]]) -> Dict[Any, List[Any]]:
    groups: Dict[Any, List[Any]] = {}
    for tag, item in items:
        value = key(item)
        if value:
            groups.setdefault(value, []).append(tag)
    return groups


def _free(name: str, taken: set[str]) -> str:
    """Keep an unmatched device apart from a wanted one that happens to have its name."""
    return name if name not in taken else f"{name} (not in the manifest)"


def by_name(devices: Optional[Sequence[DeviceT]], name: str) -> Optional[DeviceT]:
    """Return the device of that name, or None."""
    return next((device for device in devices or () if device.name == name), None)
