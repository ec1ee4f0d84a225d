"""How a seed reaches its guest: by a drive of its own, or as a file of QEMU's fw_cfg. Pure.

A drive starts without its medium. QEMU does not start without a file that it is to hand on, and
reads it again when a guest that was saved is restored.
"""

from __future__ import annotations

from typing import Optional, Tuple

from reconciler.core.cloud_init import SEED_DRIVE
from reconciler.core.guests import is_windows
from reconciler.core.images import DEFAULT_POOL, FILE_POOLS
from reconciler.core.machine import Cdrom
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import IGNITION, Owner, SeedMark
from reconciler.core.plan import Step, UpdateDevice
from reconciler.core.world import PoolView, Reading, World
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError, RefusedError
from reconciler.kinds.machine.domain.devices import live_device
from reconciler.kinds.machine.domain.features import find_ignition
from reconciler.kinds.machine.domain.read import read_seed_drive
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.images import find_pool


def exchange_seed(
    manifest: MachineManifest, former: SeedMark, mark: SeedMark, reading: Reading
) -> Tuple[Difference, ...]:
    """Return the edits that put the new volume in place of the former one."""
    if IGNITION in {former.field, mark.field} and former.field != mark.field:
        return (*take_out_seed(former, reading), add_seed(manifest, mark))
    drive = _find_drive(reading.view.persistent_xml)
    if drive is None or mark.field == IGNITION:
        return (add_seed(manifest, mark),)
    return (_set_medium(drive, former.path, mark.path),)


def eject_seed(mark: SeedMark, reading: Reading) -> Tuple[Step, ...]:
    """Take the medium out of the running guest's drive, which stays there until the guest is off.

    libvirt cannot unplug a drive on SATA or IDE, and an empty one disturbs nobody.
    """
    live = reading.view.live_xml
    drive = _find_drive(live)
    if live is None or drive is None or not drive.media:
        return ()
    empty = _set_medium(drive, drive.media, "")
    return (UpdateDevice(mark.field, live_device(live, empty)),)


def _set_medium(drive: Cdrom, former: str, path: str) -> Difference:
    return Difference(
        field="cdroms[].media",
        kind=DifferenceKind.CHANGE,
        observed=former,
        desired=path,
        device=SEED_DRIVE,
        item=drive,
    )


def runs_with(mark: SeedMark, reading: Reading) -> bool:
    """Whether the guest was started with the seed, or with an empty drive if it was missing.

    An empty drive may also be that of a former seed, which was taken out.
    """
    if mark.field == IGNITION:
        return _find_file(reading.view.live_xml) == mark.path
    drive = _find_drive(reading.view.live_xml)
    return drive is not None and (bool(drive.media) or mark.count == 1)


def find_lack(mark: SeedMark, reading: Reading, world: World) -> str:
    """Say what keeps the next start from having the seed; a drive starts without its medium."""
    xml = reading.view.persistent_xml
    if mark.field != IGNITION:
        return "its drive is missing" if _find_drive(xml) is None else ""
    if _find_file(xml) != mark.path:
        return "it is not in the definition"
    if reading.is_active:
        return ""
    try:
        is_there = mark.volume in find_pool(world, mark.pool, mark.field).volumes
    except ReconcilerError:  # nothing is known of an inactive pool
        is_there = True
    return "" if is_there else "its file is missing, without which the guest does not start"


def is_held(mark: SeedMark, reading: Reading) -> bool:
    """Whether QEMU needs the file: a guest that was saved is restored with it."""
    return _find_file(reading.view.live_xml) == mark.path or reading.view.saved


def _find_file(xml: Optional[str]) -> Optional[str]:
    return None if xml is None else find_ignition(parse(xml))


def _find_drive(xml: Optional[str]) -> Optional[Cdrom]:
    return None if xml is None else read_seed_drive(parse(xml))


def add_seed(manifest: MachineManifest, mark: SeedMark) -> Difference:
    """Return the edit that gives a seed to the guest."""
    if mark.field == IGNITION:
        return Difference(IGNITION, DifferenceKind.CHANGE, None, mark.path)
    return Difference(
        "cdroms[]", DifferenceKind.ADD, device=SEED_DRIVE, item=make_drive(manifest, mark)
    )


def take_out_seed(mark: SeedMark, reading: Reading) -> Tuple[Difference, ...]:
    """Return the edits that take a seed out of the definition, as far as it is there."""
    if mark.field == IGNITION:
        is_there = _find_file(reading.view.persistent_xml) == mark.path
        gone = Difference(IGNITION, DifferenceKind.CHANGE, mark.path, None)
        return (gone,) if is_there else ()
    drive = _find_drive(reading.view.persistent_xml)
    gone = Difference("cdroms[]", DifferenceKind.REMOVE, device=SEED_DRIVE, item=drive)
    return () if drive is None else (gone,)


def make_drive(manifest: MachineManifest, mark: SeedMark) -> Cdrom:
    """Return the drive of a seed, on a bus of which the image has a driver.

    Kernels for the cloud, like that of Debian's genericcloud images, have virtio's drivers and none
    for SATA or IDE. A Windows that boots from virtio may have no driver for virtio-scsi.
    """
    machine = manifest.machine
    buses = {disk.bus or "virtio" for disk in machine.disks or ()}
    is_virtual = not buses or not buses.isdisjoint({"virtio", "scsi"})
    bus = "scsi" if is_virtual and not is_windows(machine.os) else None
    return Cdrom(SEED_DRIVE, bus, mark.path)


def choose_pool(
    manifest: MachineManifest, world: World, field: str, what: str = "the seed"
) -> PoolView:
    """Return the pool of the machine's first volume, if that holds files; else the default one."""
    disks = [disk for disk in manifest.machine.disks or () if disk.source is None]
    names = [disk.pool or DEFAULT_POOL for disk in disks[:1]]
    pools = (find_pool(world, name, field) for name in (*names, DEFAULT_POOL))
    for pool in pools:
        if pool.type in FILE_POOLS:
            return pool
    raise RefusedError(
        f"{field}: {what} needs a storage pool of files ({', '.join(sorted(FILE_POOLS))}), and "
        f"neither the pool of the first disk nor the pool {DEFAULT_POOL} is one"
    )


def refuse_taken(mark: SeedMark, owner: Optional[Owner], world: World) -> None:
    """Refuse a volume that is there already, unless we were making it when we were stopped."""
    if owner is not None and mark.path in owner.creating:
        return
    if mark.volume in find_pool(world, mark.pool, mark.field).volumes:
        raise RefusedError(
            f"{mark.field}: volume {mark.volume!r} exists already in pool {mark.pool!r}, and no "
            "record shows that it is a seed of this machine. If nobody needs it: virsh vol-delete "
            f"--pool {mark.pool} {mark.volume}"
        )
