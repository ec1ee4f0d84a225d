"""Refuse, before anything is done, what this host cannot do or what is taken already. Pure."""

from __future__ import annotations

import posixpath
import shlex
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.world import MachineCaps, Unknown, World
from reconciler.core.xmltree import Element, parse
from reconciler.errors import MissingError, TerminalError
from reconciler.kinds.machine.domain.mark import read_image_uses
from reconciler.kinds.machine.domain.soundness import check_offer
from reconciler.kinds.machine.match import Device, Difference, DifferenceKind
from reconciler.kinds.machine.planning.images import (
    describe_dependants,
    find_dependants,
    path_of,
)


def find_caps(world: World, machine: str) -> MachineCaps:
    """Return what the host offers for that machine type.

    Raises TerminalError where it offers none, MissingError where it cannot be asked now.
    """
    caps = world.find_machine(machine)
    if isinstance(caps, MachineCaps):
        return caps
    reason = caps.reason if isinstance(caps, Unknown) else "this host does not offer it"
    kind = MissingError if isinstance(caps, Unknown) and caps.transient else TerminalError
    raise kind(f"machine: {machine or 'default'!r}: {reason}")


def refuse_unoffered(machine: Machine, caps: MachineCaps) -> None:
    """Raise TerminalError naming everything that this host does not offer."""
    refusals = check_offer(machine, caps)
    if refusals:
        raise TerminalError("; ".join(refusals))


def refuse_taken(
    manifest: MachineManifest,
    devices: Iterable[Device],
    desired: Desired,
    world: World,
    staying: Tuple[Disk, ...] = (),
) -> None:
    """Raise TerminalError if a UUID, MAC or image is held by another domain, manifest or disk.

    `staying` are the disks that the machine has and keeps.
    """
    items = tuple(devices)
    wanted = [("uuid", manifest.machine.uuid, "uuid")]
    wanted += [
        ("mac", item.mac, f"interfaces[{item.name}].mac")
        for item in items
        if isinstance(item, Interface)
    ]
    taken = [
        f"{path}: {value} is already used by domain {', '.join(holders)}"
        for kind, value, path in wanted
        if value
        for holders in [_others(world, kind, value, manifest.name)]
        if holders
    ]
    disks = [item for item in items if isinstance(item, Disk)]
    for index, disk in enumerate(disks):
        if disk.source and not disk.readonly:
            beside = (*staying, *disks[:index])
            users = _find_users(manifest, disk, desired, world, beside)
            taken += [f"disks[{disk.name}].source: {user}" for user in users]
    if taken:
        raise TerminalError("; ".join(taken))


def refuse_borrowed(
    manifest: MachineManifest, former: str, xml: str, desired: Desired, world: World
) -> None:
    """Raise TerminalError if a fragment brought an image or a MAC address that another one has.

    `former` is the definition without the fragments of the `xml` field, `xml` the one with them.
    """
    if former == xml:
        return
    before, after = parse(former), parse(xml)
    taken = [
        f"MAC address {mac} is already used by domain {', '.join(holders)}"
        for mac in sorted(_find_macs(after) - _find_macs(before))
        for holders in [_others(world, "mac", mac, manifest.name)]
        if holders
    ]
    there = read_image_uses(before, manifest.name, is_live=False)
    for use in read_image_uses(after, manifest.name, is_live=False):
        if use.writes and use not in there:
            source = path_of(use.path, world) or ""
            disk = Disk(use.disk, source=source, format=use.format, shareable=use.shareable)
            taken += _find_users(manifest, disk, desired, world, ())
    if taken:
        raise TerminalError("; ".join(f"xml: {text}" for text in taken))


def _find_macs(root: Element) -> Set[str]:
    cards = root.iterfind("devices/interface/mac")
    return {card.get("address", "").lower() for card in cards} - {""}


def _others(world: World, kind: str, value: str, name: str) -> Tuple[str, ...]:
    return tuple(holder for holder in world.find_holders(kind, value) if holder != name)


def _find_users(
    manifest: MachineManifest,
    disk: Disk,
    desired: Desired,
    world: World,
    beside: Tuple[Disk, ...],
) -> List[str]:
    """Return who else writes to the disk's image, or to one that it depends on."""
    found = _find_domains(manifest.name, disk, world)
    image = disk.source or ""
    for name, text in _find_named(manifest, disk, desired, world):
        found.setdefault(name, text)
    for mine in beside:
        if mine.name != disk.name and world.images.is_same(mine.source, image):
            text = f"{image} is the image of disks[{mine.name}] too"
            found.setdefault("", text + _name_as(mine.source or "", image))
    return list(found.values())


def _find_domains(name: str, disk: Disk, world: World) -> Dict[str, str]:
    """Return the domains other than `name` that hold the image, and how."""
    images, image = world.images, disk.source or ""
    found: Dict[str, str] = {}
    for use in images.find_users(image):
        is_top = images.is_same(use.path, image)
        if use.domain == name or (is_top and is_shared(disk, use.shareable, use.format)):
            continue
        where = _name_as(use.path, image) if is_top else f", below {use.path}"
        if use.writes:
            text = f"{image} is already used by domain {use.domain}{where}"
            text += _advise_sharing(disk) if is_top else ""
        else:  # what a guest reads must not change under it
            text = f"{image} is read by domain {use.domain}, as {use.disk}{where}{_ADVISE_READING}"
        found.setdefault(use.domain, text)
    for use in images.uses:
        pool = _find_unread_pool(use.path, image, world)
        if pool and use.domain != name:
            text = (
                f"{image} may be {use.path}, which domain {use.domain} uses; whether it is shows "
                f"when that pool is active: virsh pool-start {shlex.quote(pool)}"
            )
            found.setdefault(use.domain, text)
    for below in images.find_chain(image, disk.format or "")[1:]:
        for use in images.find_users(below):
            if use.is_live and use.writes and images.is_same(use.path, below):
                text = f"{image} lies over {below}, which the running domain {use.domain} writes to"
                found.setdefault(use.domain, text)
    return found


def _find_unread_pool(source: str, image: str, world: World) -> str:
    """Return the pool that cannot be read of a POOL/VOLUME called as the image is; else empty."""
    pool, _, volume = source.partition("/")
    if not pool or ":" in pool or volume != posixpath.basename(image):
        return ""
    return pool if isinstance(world.find_pool(pool), Unknown) else ""


def is_shared(disk: Disk, shareable: bool, image_format: str) -> bool:  # noqa: FBT001
    """Whether two disks may write to one image: both say so, and it is raw."""
    return bool(disk.shareable) and shareable and disk.format == image_format == "raw"


def _name_as(name: str, image: str) -> str:
    return "" if name == image else f" (as {name})"


def _advise_sharing(disk: Disk) -> str:
    if disk.format != "raw":
        return ""
    return "; if both guests may write to it at once, set shareable: true on both disks"


_ADVISE_READING = "; give this machine a copy of it, or set readonly: true"


def _can_meet(one: MachineManifest, other: MachineManifest) -> bool:
    return one.host is None or other.host is None or one.host == other.host


def _find_named(
    manifest: MachineManifest, disk: Disk, desired: Desired, world: World
) -> Iterator[Tuple[str, str]]:
    """Yield the machines to which a manifest gives the same image; those that write to it first."""
    image, readers = disk.source or "", []
    names = [(path_of(name, world) or name, users) for name, users in desired.images.items()]
    world.images.ask_views((image, *(name for name, _ in names)))
    for name, user in ((name, user) for name, users in names for user in users):
        other, drive = user.manifest, user.drive
        if other.name == manifest.name or not world.images.is_same(name, image):
            continue
        if not _can_meet(manifest, other):
            continue
        if isinstance(drive, Cdrom) or drive.readonly:
            text = f"{image} is read by {other.name} too, as its manifest says{_ADVISE_READING}"
            readers.append((other.name, text))
        elif not is_shared(disk, bool(drive.shareable), drive.format or disk.format or ""):
            text = f"{image} is named by the manifest of {other.name} too"
            yield other.name, f"{text}{_name_as(name, image)}{_advise_sharing(disk)}"
    yield from readers


def refuse_absent_networks(devices: Iterable[Device], world: World) -> None:
    """Raise MissingError for an interface on a libvirt network that is not there."""
    for device in devices:
        if not isinstance(device, Interface) or device.network is None:
            continue
        networks = world.list_networks()
        if device.network not in networks:
            there = ", ".join(sorted(networks)) or "none"
            raise MissingError(
                f"interfaces[{device.name}].network: no network {device.network!r} on this "
                f"host; there are: {there}"
            )


def refuse_ambiguous(differences: Iterable[Difference], *, is_ours: bool) -> None:
    """Raise TerminalError where a domain may have what would be added to it.

    What the manifest does not tell from a device that is there is more likely that device than a
    second one: the manifest gives no MAC address or target, and the device has no alias of ours.
    On a domain that `is_ours`, every alias is of ours.
    """
    found = tuple(differences)
    gone = [
        difference.item
        for difference in found
        if difference.kind is DifferenceKind.REMOVE and difference.item is not None
    ]
    there = [device for device in gone if not (is_ours and device.alias)]
    for difference in found:
        if difference.kind is not DifferenceKind.ADD or difference.item is None:
            continue
        same = [other for other in there if _may_be(difference.item, other)]
        if same:
            raise TerminalError(f"{difference.path}: {_ask_which(same)}")


def _may_be(new: Device, there: Device) -> bool:
    """Whether a device to be added may be one that the domain has."""
    if isinstance(new, Interface) and isinstance(there, Interface):
        on = (new.network, new.bridge)
        return new.mac is None and on == (there.network, there.bridge)
    if isinstance(new, Disk) and isinstance(there, Disk):
        return new.target is None and new.source is None and new.serial is None
    if isinstance(new, Cdrom) and isinstance(there, Cdrom):
        return new.target is None
    return False


def _ask_which(there: Sequence[Device]) -> str:
    """Say what the domain has that a new device may be, and what to write into the manifest."""
    names = ", ".join(
        _call(device) + (f" (alias ua-{device.alias})" if device.alias else "") for device in there
    )
    ours = [
        f"mac: '{device.mac}'" if isinstance(device, Interface) else f"target: {device.target}"
        for device in there
    ]
    is_card = isinstance(there[0], Interface)
    which = "which of them this is, if any" if there[1:] else "whether this is it"
    return (
        f"the domain has {names}{' on the same network' if is_card else ''}, and the manifest does "
        f"not say {which}. If it is, set {' or '.join(ours)} (from the domain); if it is a new "
        f"one, set {'a MAC address of its own' if is_card else 'a target that is free'}"
    )


def refuse_misaliased(name: str, wanted: Machine, stored: Machine) -> None:
    """Raise TerminalError where an alias that is not ours names another device than is meant.

    `stored` is the domain with its devices named as in `wanted`. An alias that somebody else chose
    may be a name of the manifest by chance: what the manifest says of that device is on another.
    """
    pairs: Tuple[Tuple[str, Sequence[Device], Sequence[Device]], ...] = (
        ("disks", wanted.disks or (), stored.disks or ()),
        ("cdroms", wanted.cdroms or (), stored.cdroms or ()),
        ("interfaces", wanted.interfaces or (), stored.interfaces or ()),
    )
    for listing, named, there in pairs:
        for device in named:
            found = next((it for it in there if it.name == device.name == it.alias), None)
            sign, value, tell = _find_sign(device)
            if found is None or value is None or tell(found) == value:
                continue
            meant = next((it for it in there if tell(it) == value), None)
            if meant is not None:
                raise TerminalError(
                    f"{listing}[{device.name}]: the domain's {_call(found)} has the alias "
                    f"ua-{device.name}, but the {sign} that the manifest gives, {value}, is that "
                    f"of {_call(meant)}. Give {_call(found)} the name {device.name} in the "
                    f"manifest and {_call(meant)} another, or remove the alias: "
                    f"virsh edit {shlex.quote(name)}"
                )


def _find_sign(device: Device) -> Tuple[str, Optional[str], Callable[[Any], Optional[str]]]:
    """Return by what a manifest tells a device from others, and how it is read of another."""
    if isinstance(device, Interface):
        return "MAC address", device.mac, lambda card: card.mac
    if isinstance(device, Disk) and device.source is not None:
        return "image", device.source, lambda disk: disk.source
    return "target", device.target, lambda disk: disk.target


def _call(device: Device) -> str:
    if isinstance(device, Interface):
        return f"interface {device.mac}"
    return f"{'disk' if isinstance(device, Disk) else 'CD-ROM drive'} {device.target}"


def refuse_template_writes(machine: Machine, world: World, what: str) -> None:
    """Raise TerminalError if a disk to be written to carries overlays, which would break."""
    for disk in machine.disks or ():
        overlays = find_dependants(world, disk.source or "")
        if overlays and not disk.readonly:
            raise TerminalError(
                f"{what}: {disk.source} (disks[{disk.name}]) carries {len(overlays)} linked "
                "clone(s), which any write to it would break: "
                f"{describe_dependants(world, overlays)}"
            )
