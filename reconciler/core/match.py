"""Give each observed device the name that the manifest has for it.

Identity is the user alias (`ua-NAME`) that the product writes, and where there is one, nothing
else counts. A device from elsewhere has none, so it is recognised by what its owner sees: target,
source, MAC, serial. Never by position, and never when two devices would fit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

from reconciler.core.model import Cdrom, Disk, Interface, Machine

DeviceT = TypeVar("DeviceT", Disk, Cdrom, Interface)
Key = Callable[[Any], Any]

ALIAS: Tuple[Key, Key] = (lambda want: want.name, lambda have: have.alias)
# Tried in this order; a device found by an earlier key is not looked for by a later one.
DISK_KEYS: Tuple[Tuple[Key, Key], ...] = (
    ALIAS,
    (lambda want: want.target or want.name, lambda have: have.target),
    (lambda want: want.source, lambda have: have.source),
    (lambda want: want.serial, lambda have: have.serial),
)
CDROM_KEYS: Tuple[Tuple[Key, Key], ...] = (
    ALIAS,
    (lambda want: want.target or want.name, lambda have: have.target),
    (lambda want: want.media, lambda have: have.media),
)
INTERFACE_KEYS: Tuple[Tuple[Key, Key], ...] = (
    ALIAS,
    (lambda want: want.mac, lambda have: have.mac),
    (lambda want: want.name, lambda have: have.mac),
    (lambda want: want.network, lambda have: have.network),
    (lambda want: want.bridge, lambda have: have.bridge),
)
KEYS: Mapping[str, Tuple[Tuple[Key, Key], ...]] = {
    "disks": DISK_KEYS,
    "cdroms": CDROM_KEYS,
    "interfaces": INTERFACE_KEYS,
}


def align(desired: Machine, observed: Machine) -> Machine:
    """Return `observed` with its devices named as `desired` names them."""
    named = {
        kind: _rename(getattr(desired, kind) or (), getattr(observed, kind) or (), keys)
        for kind, keys in KEYS.items()
    }
    if all(named[kind] is getattr(observed, kind) for kind in KEYS):
        return observed
    return replace(observed, **named)  # type: ignore[arg-type]  # the kinds are its own fields


def align_live(desired: Machine, persistent: Machine, live: Machine) -> Machine:
    """Name the devices of the running guest by way of the stored (already aligned) definition.

    A device that was changed in the definition (another bus, so another target) is still found
    in the running guest by what the change left alone.
    """
    return align(desired, align(persistent, live))


def _rename(
    desired: Sequence[DeviceT], observed: Sequence[DeviceT], keys: Sequence[Tuple[Key, Key]]
) -> Tuple[DeviceT, ...]:
    if isinstance(observed, tuple) and all(one.alias == one.name for one in observed):
        return observed  # ours: each says its name, and nothing else counts
    names: Dict[int, str] = {}
    for want_key, have_key in keys:
        _match_by(want_key, have_key, desired, observed, names)
    taken = set(names.values())
    return tuple(
        replace(one, name=names.get(index) or _free(one.name, taken))
        for index, one in enumerate(observed)
    )


def _match_by(
    want_key: Key,
    have_key: Key,
    desired: Sequence[DeviceT],
    observed: Sequence[DeviceT],
    names: Dict[int, str],
) -> None:
    """Name what this key tells apart: one wanted and one observed device of the same value."""
    found = set(names.values())
    wanted = _group(want_key, [(one.name, one) for one in desired if one.name not in found])
    unnamed = [(i, one) for i, one in enumerate(observed) if i not in names]
    if have_key is not ALIAS[1]:
        unnamed = [(i, one) for i, one in unnamed if not one.alias]
    have = _group(have_key, unnamed)
    for value, [name, *others] in wanted.items():
        candidates = have.get(value, [])
        if not others and len(candidates) == 1:
            names[candidates[0]] = name


def _group(key: Key, items: Sequence[Tuple[Any, Any]]) -> Dict[Any, List[Any]]:
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
    return next((one for one in devices or () if one.name == name), None)
