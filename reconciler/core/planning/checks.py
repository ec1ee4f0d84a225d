"""Refuse, before anything is done, what this host cannot do or what is taken already. Pure."""

from __future__ import annotations

from typing import Iterable, Optional, Tuple

from reconciler.core.diff import Device
from reconciler.core.domain import check_offer
from reconciler.core.manifest import MachineManifest
from reconciler.core.model import Disk, Interface, Machine
from reconciler.core.planning.images import find_overlays
from reconciler.core.world import MachineCaps, Unknown, World
from reconciler.errors import MissingError, TerminalError


def find_caps(world: World, machine: str) -> MachineCaps:
    """Return what the host offers for that machine type.

    Raises TerminalError where it offers none, MissingError where it cannot be asked now.
    """
    caps = world.machines.get(machine)
    if isinstance(caps, MachineCaps):
        return caps
    reason = caps.reason if isinstance(caps, Unknown) else "it was not asked for"
    kind = MissingError if isinstance(caps, Unknown) and caps.transient else TerminalError
    raise kind(f"machine: {machine or 'default'!r}: {reason}")


def refuse_unoffered(machine: Machine, caps: MachineCaps) -> None:
    """Raise TerminalError naming everything that this host does not offer."""
    refusals = check_offer(machine, caps)
    if refusals:
        raise TerminalError("; ".join(refusals))


def refuse_taken(manifest: MachineManifest, devices: Iterable[Device], world: World) -> None:
    """Raise TerminalError if a UUID, MAC or image is held by another domain."""
    wanted = [("uuid", manifest.machine.uuid, "uuid")]
    for device in devices:
        wanted.extend(_claims(device))
    taken = [
        f"{path}: {value} is already used by domain {', '.join(holders)}"
        for kind, value, path in wanted
        if value
        for holders in [_others(world, kind, value, manifest.name)]
        if holders
    ]
    if taken:
        raise TerminalError("; ".join(taken))


def _claims(device: Device) -> Iterable[Tuple[str, Optional[str], str]]:
    if isinstance(device, Interface):
        yield "mac", device.mac, f"interfaces[{device.name}].mac"
    if isinstance(device, Disk) and not device.readonly:
        yield "source", device.source, f"disks[{device.name}].source"


def _others(world: World, kind: str, value: str, name: str) -> Tuple[str, ...]:
    return tuple(one for one in world.claims.get((kind, value), ()) if one != name)


def refuse_absent_networks(devices: Iterable[Device], world: World) -> None:
    """Raise MissingError for an interface on a libvirt network that is not there."""
    for device in devices:
        if not isinstance(device, Interface) or device.network is None:
            continue
        if device.network not in world.networks:
            there = ", ".join(sorted(world.networks)) or "none"
            raise MissingError(
                f"interfaces[{device.name}].network: no network {device.network!r} on this host; "
                f"it has: {there}"
            )


def refuse_template_writes(machine: Machine, world: World, what: str) -> None:
    """Raise TerminalError if a disk to be written to carries overlays, which would break."""
    for disk in machine.disks or ():
        overlays = find_overlays(world, disk.source or "")
        if overlays and not disk.readonly:
            raise TerminalError(
                f"{what}: {disk.source} (disks[{disk.name}]) carries {len(overlays)} linked "
                f"clone(s), which any write to it would break: {', '.join(overlays[:3])}"
            )
