"""Plan the seed of cloud-init: that it is made, that it goes, what becomes of a changed one. Pure.

A seed is never compared: the mark says which one the guest was given, and the manifest which one it
would be given now. What cloud-init did inside the guest is asked of the agent, or told by the time.
"""

from __future__ import annotations

from typing import Optional, Tuple

from reconciler.core.cloud_init import (
    DEFAULT_REMOVE_AFTER,
    SEED_DRIVE,
    CloudInit,
    Seed,
    render_seed,
)
from reconciler.core.frozen import frozen, replace
from reconciler.core.guests import is_windows
from reconciler.core.images import DEFAULT_POOL, FILE_POOLS
from reconciler.core.machine import Cdrom
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import Owner, SeedMark
from reconciler.core.plan import (
    SEED,
    Change,
    CreateSeed,
    DeleteSeed,
    Effect,
    Step,
    UpdateDevice,
)
from reconciler.core.units import show_span, show_time
from reconciler.core.world import PoolView, Reading, World
from reconciler.core.xmltree import parse
from reconciler.errors import RefusedError
from reconciler.kinds.machine.domain.devices import live_device
from reconciler.kinds.machine.domain.read import read_seed_drive
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.images import find_pool

PATH = "cloudInit"
KEPT = (
    f"{SEED} changed since the guest got its seed, and the guest is not told (onChange: keep); to "
    "have it run cloud-init again as a new instance, set cloudInit.onChange: rerun"
)
NOT_GIVEN = (
    f"{SEED} is for the first boot, and this machine was made without it; to give it to the guest "
    "at the next cold start, set cloudInit.onChange: rerun"
)
LATER = f"{SEED} changed; the new seed is made when the first boot is over (onChange: rerun)"
NOT_STARTED = f"{SEED}: the seed is removed after the first boot"
RERUN = (
    "cloud-init runs everything again as for a new machine: new SSH host keys, users, host name, "
    "scripts and packages. If a seed of the guest was removed before, first run in the guest: sudo "
    "cloud-init clean"
)


@frozen
class SeedPlan:
    """What a plan does about the seed.

    `mark` is what the mark says of it afterwards. `eject` comes first; `new` makes a volume, before
    the definition is stored; `edits` change the drive there. `old` deletes a volume that only then
    nothing names; the mark has it among the unfinished ones until it is gone. `is_new` says that
    the first start with the seed is still to come, `begins` that the guest runs with it by now.
    `is_unsettled` says that time alone ends the present state.
    """

    mark: Optional[SeedMark] = None
    edits: Tuple[Difference, ...] = ()
    eject: Tuple[Step, ...] = ()
    new: Optional[CreateSeed] = None
    old: Optional[DeleteSeed] = None
    changes: Tuple[Change, ...] = ()
    notes: Tuple[str, ...] = ()
    is_new: bool = False
    begins: bool = False
    is_unsettled: bool = False


NO_SEED = SeedPlan()


@frozen
class NewSeed:
    """A seed that is made with its machine: its drive, the steps that make its volume, the mark."""

    drive: Cdrom
    steps: Tuple[Step, ...]
    mark: SeedMark
    change: Change


def plan_new_seed(
    manifest: MachineManifest, world: World, former: Optional[Owner]
) -> Optional[NewSeed]:
    """Return the seed of a machine that is created; None where the manifest asks for none.

    `former` is the mark that an interrupted creation left.
    """
    if manifest.cloud_init is None:
        return None
    step, mark = _make(manifest, manifest.cloud_init, world, 1)
    drop: Tuple[Step, ...] = ()
    if former is not None and _is_begun(former, mark, world):
        drop = (DeleteSeed(mark.pool, mark.volume, mark.path),)
    else:
        _refuse_taken(mark, former, world)
    change = _change(None, _describe(mark), Effect.OFFLINE, "removed after the first boot")
    return NewSeed(_drive(manifest, mark), (*drop, step), mark, change)


def plan_seed(
    manifest: MachineManifest, reading: Reading, world: World, *, may_change: bool
) -> SeedPlan:
    """Return what happens to the seed of a machine that exists.

    Without `may_change` it stays as it is.
    """
    mark = reading.owner.seed if reading.owner is not None else None
    cloud_init = manifest.cloud_init
    seed = None if cloud_init is None else _render(manifest, cloud_init, mark)
    differs = seed is not None and (mark is None or seed.digest != mark.digest)
    if not may_change:
        return SeedPlan(mark)
    if mark is None or not mark.is_attached:
        if cloud_init is None or not differs:
            return SeedPlan(mark)
        if cloud_init.reruns:
            return _rerun(manifest, cloud_init, reading, world)
        return SeedPlan(mark, notes=(NOT_GIVEN if mark is None else KEPT,))
    if not mark.since:
        return _plan_before_start(manifest, mark, reading, world, differs=differs)
    return _plan_after_start(manifest, mark, reading, world, differs=differs)


def _plan_before_start(
    manifest: MachineManifest, mark: SeedMark, reading: Reading, world: World, *, differs: bool
) -> SeedPlan:
    """Plan a seed that no guest was seen running with."""
    cloud_init = manifest.cloud_init
    runs_with_it = _runs_with(mark, reading)
    if cloud_init is not None and not runs_with_it and not _has_drive(reading.view.persistent_xml):
        return _replace_seed(manifest, cloud_init, mark, reading, world, "its drive is missing")
    if runs_with_it:
        reason = "the time until the seed is removed begins"
        change = replace(_change(None, "started", Effect.LIVE, reason), path=f"{PATH}.seed")
        notes = _find_change_notes(manifest, differs=differs)
        return SeedPlan(mark, changes=(change,), notes=notes, begins=True)
    if cloud_init is not None and differs:
        return _replace_seed(
            manifest, cloud_init, mark, reading, world, "no guest has used the former seed"
        )
    return SeedPlan(mark, notes=(NOT_STARTED,), is_new=True)


def _plan_after_start(
    manifest: MachineManifest, mark: SeedMark, reading: Reading, world: World, *, differs: bool
) -> SeedPlan:
    cloud_init = manifest.cloud_init
    limit = DEFAULT_REMOVE_AFTER if cloud_init is None else cloud_init.remove_after
    boot = world.find_first_boot(manifest.name, mark.instance)
    is_due = boot.is_finished or boot.now >= mark.since + limit
    if not is_due or (reading.is_active and not reading.is_running):
        until = show_time(mark.since + limit)
        note = f"{SEED}: the seed is removed when the first boot is over, at the latest at {until}"
        notes = (note, *_find_change_notes(manifest, differs=differs))
        return SeedPlan(mark, notes=notes, is_unsettled=True)
    why = f"{show_span(limit)} have passed since the first start"
    if boot.is_finished:
        why = "cloud-init has finished"
    if cloud_init is not None and differs and cloud_init.reruns:
        return _replace_seed(manifest, cloud_init, mark, reading, world, RERUN)
    removed = _remove(mark, reading, why)
    return replace(removed, notes=_find_change_notes(manifest, differs=differs))


def _find_change_notes(manifest: MachineManifest, *, differs: bool) -> Tuple[str, ...]:
    if not differs or manifest.cloud_init is None:
        return ()
    return (LATER if manifest.cloud_init.reruns else KEPT,)


def _remove(mark: SeedMark, reading: Reading, why: str) -> SeedPlan:
    drive = _find_drive(reading.view.persistent_xml)
    gone = Difference("cdroms[]", DifferenceKind.REMOVE, device=SEED_DRIVE, item=drive)
    effect = Effect.LIVE if reading.is_active else Effect.OFFLINE
    return SeedPlan(
        replace(mark, pool="", volume="", path="", since=0),
        edits=() if drive is None else (gone,),
        eject=_eject(reading),
        old=DeleteSeed(mark.pool, mark.volume, mark.path),
        changes=(_change(_describe(mark), None, effect, f"{why}; the seed is removed"),),
    )


def _rerun(
    manifest: MachineManifest, cloud_init: CloudInit, reading: Reading, world: World
) -> SeedPlan:
    """Give a guest without a seed a new one."""
    former = reading.owner.seed if reading.owner is not None else None
    step, mark = _make(manifest, cloud_init, world, _count(former))
    _refuse_taken(mark, reading.owner, world)
    change = _announce(former, mark, reading, RERUN)
    edits = (_add(manifest, mark),)
    return SeedPlan(mark, edits=edits, new=step, changes=(change,), is_new=True)


def _replace_seed(
    manifest: MachineManifest,
    cloud_init: CloudInit,
    former: SeedMark,
    reading: Reading,
    world: World,
    why: str,
) -> SeedPlan:
    """Make a new volume, put it into the drive in place of the former one, and delete that."""
    step, mark = _make(manifest, cloud_init, world, _count(former))
    _refuse_taken(mark, reading.owner, world)
    return SeedPlan(
        mark,
        edits=(_exchange(manifest, former, mark, reading),),
        eject=_eject(reading),
        new=step,
        old=DeleteSeed(former.pool, former.volume, former.path),
        changes=(_announce(former, mark, reading, why),),
        is_new=True,
    )


def _exchange(
    manifest: MachineManifest, former: SeedMark, mark: SeedMark, reading: Reading
) -> Difference:
    """Return the edit that puts the new volume into the drive, which is added if it is missing."""
    drive = _find_drive(reading.view.persistent_xml)
    if drive is None:
        return _add(manifest, mark)
    return _set_medium(drive, former.path, mark.path)


def _announce(former: Optional[SeedMark], mark: SeedMark, reading: Reading, why: str) -> Change:
    effect = Effect.NEXT_BOOT if reading.is_active else Effect.OFFLINE
    observed = None if former is None else f"instance {former.instance}"
    return _change(observed, _describe(mark), effect, why)


def _eject(reading: Reading) -> Tuple[Step, ...]:
    """Take the medium out of the running guest's drive, which stays there until the guest is off.

    libvirt cannot unplug a drive on SATA or IDE, and an empty one disturbs nobody.
    """
    live = reading.view.live_xml
    drive = _find_drive(live)
    if live is None or drive is None or not drive.media:
        return ()
    empty = _set_medium(drive, drive.media, "")
    return (UpdateDevice(PATH, live_device(live, empty)),)


def _set_medium(drive: Cdrom, former: str, path: str) -> Difference:
    return Difference(
        field="cdroms[].media",
        kind=DifferenceKind.CHANGE,
        observed=former,
        desired=path,
        device=SEED_DRIVE,
        item=drive,
    )


def _change(observed: Optional[str], desired: Optional[str], effect: Effect, why: str) -> Change:
    return Change(path=PATH, observed=observed, desired=desired, effect=effect, reason=why)


def _runs_with(mark: SeedMark, reading: Reading) -> bool:
    """Whether the guest was started with the drive: with the seed, or with none if it was missing.

    An empty drive may also be that of a former seed, which was taken out.
    """
    drive = _find_drive(reading.view.live_xml)
    return drive is not None and (bool(drive.media) or mark.count == 1)


def _has_drive(xml: Optional[str]) -> bool:
    return _find_drive(xml) is not None


def _find_drive(xml: Optional[str]) -> Optional[Cdrom]:
    return None if xml is None else read_seed_drive(parse(xml))


def _add(manifest: MachineManifest, mark: SeedMark) -> Difference:
    drive = _drive(manifest, mark)
    return Difference("cdroms[]", DifferenceKind.ADD, device=SEED_DRIVE, item=drive)


def _drive(manifest: MachineManifest, mark: SeedMark) -> Cdrom:
    """Return the drive, on a bus of which the image has a driver.

    Kernels for the cloud, like that of Debian's genericcloud images, have virtio's drivers and none
    for SATA or IDE. A Windows that boots from virtio may have no driver for virtio-scsi.
    """
    machine = manifest.machine
    buses = {disk.bus or "virtio" for disk in machine.disks or ()}
    is_virtual = not buses or not buses.isdisjoint({"virtio", "scsi"})
    bus = "scsi" if is_virtual and not is_windows(machine.os) else None
    return Cdrom(SEED_DRIVE, bus, mark.path)


def _describe(mark: SeedMark) -> str:
    return f"seed {mark.pool}/{mark.volume}, instance {mark.instance}"


def _count(former: Optional[SeedMark]) -> int:
    return 1 if former is None else former.count + 1


def _render(manifest: MachineManifest, cloud_init: CloudInit, former: Optional[SeedMark]) -> Seed:
    cards = manifest.machine.interfaces or ()
    return render_seed(cloud_init, manifest.name, cards, _count(former))


def _make(
    manifest: MachineManifest, cloud_init: CloudInit, world: World, count: int
) -> Tuple[CreateSeed, SeedMark]:
    cards = manifest.machine.interfaces or ()
    seed = render_seed(cloud_init, manifest.name, cards, count)
    pool = _choose_pool(manifest, world)
    volume = f"{manifest.name}-seed{f'-{count}' if count > 1 else ''}.iso"
    path = f"{pool.path.rstrip('/')}/{volume}"
    mark = SeedMark(
        instance=seed.instance,
        digest=seed.digest,
        count=count,
        pool=pool.name,
        volume=volume,
        path=path,
    )
    step = CreateSeed(pool=pool.name, name=volume, path=path, digest=seed.digest, files=seed.files)
    return step, mark


def _choose_pool(manifest: MachineManifest, world: World) -> PoolView:
    """Return the pool of the machine's first volume, if that holds files; else the default one."""
    disks = [disk for disk in manifest.machine.disks or () if disk.source is None]
    names = [disk.pool or DEFAULT_POOL for disk in disks[:1]]
    pools = (find_pool(world, name, PATH) for name in (*names, DEFAULT_POOL))
    for pool in pools:
        if pool.type in FILE_POOLS:
            return pool
    raise RefusedError(
        f"{PATH}: the seed needs a storage pool of files ({', '.join(sorted(FILE_POOLS))}), and "
        f"neither the pool of the first disk nor the pool {DEFAULT_POOL} is one"
    )


def _is_begun(owner: Owner, mark: SeedMark, world: World) -> bool:
    """Whether an interrupted creation has left the volume, complete or not."""
    is_ours = owner.seed is not None and owner.seed.path == mark.path
    return is_ours and mark.volume in find_pool(world, mark.pool, PATH).volumes


def _refuse_taken(mark: SeedMark, owner: Optional[Owner], world: World) -> None:
    """Refuse a volume that is there already, unless we were making it when we were stopped."""
    if owner is not None and mark.path in owner.creating:
        return
    if mark.volume in find_pool(world, mark.pool, PATH).volumes:
        raise RefusedError(
            f"{PATH}: volume {mark.volume!r} exists already in pool {mark.pool!r}, and no record "
            "shows that it is a seed of this machine. If nobody needs it: virsh vol-delete "
            f"--pool {mark.pool} {mark.volume}"
        )
