"""Plan what a guest is given for its first boot: that it is made, that it goes, that it changed.

cloud-init and Windows get an image in a drive of their own, Ignition a file by QEMU's fw_cfg. Here
each is called the seed. A seed is never compared: the mark says which one the guest was given, and
the manifest which one it would be given now. What became of it inside the guest is asked of the
agent, or told by the time. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, Optional, Tuple

from reconciler.core.cloud_init import DEFAULT_REMOVE_AFTER, list_file_refs
from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import Cdrom
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import (
    CLOUD_INIT,
    IGNITION,
    IGNITION_SUFFIX,
    WINDOWS,
    Owner,
    SeedMark,
)
from reconciler.core.plan import Change, CreateSeed, DeleteSeed, Effect, Step
from reconciler.core.secret_refs import SecretRef
from reconciler.core.units import show_span, show_time
from reconciler.core.world import Reading, World
from reconciler.kinds.machine.match import Difference
from reconciler.kinds.machine.planning.images import find_pool
from reconciler.kinds.machine.planning.seed_carriers import (
    add_seed,
    choose_pool,
    eject_seed,
    exchange_seed,
    find_lack,
    is_held,
    make_drive,
    refuse_taken,
    runs_with,
    take_out_seed,
)
from reconciler.kinds.machine.planning.seed_contents import (
    CHANGED,
    KEPT,
    LATER,
    NOT_GIVEN,
    RERUN,
    find_changed,
    find_given,
    find_sign,
    find_unread_secrets,
    name_given,
    render_given,
    seal_seed,
)

if TYPE_CHECKING:
    from reconciler.kinds.machine.planning.seed_contents import Given

_FINISHED: Mapping[str, str] = {
    CLOUD_INIT: "cloud-init has finished",
    IGNITION: "Ignition has finished",
    WINDOWS: "Windows is set up",
}


@frozen
class SeedPlan:
    """What a plan does about the seed.

    `mark` is what the mark says of it afterwards. `eject` comes first; `new` makes a volume, before
    the definition is stored; `edits` change the definition. `old` deletes a volume that only then
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
    """A seed that is made with its machine: the steps that make its volume, its mark, its secrets.

    It has a drive, or else edits of the definition.
    """

    drive: Optional[Cdrom]
    edits: Tuple[Difference, ...]
    steps: Tuple[Step, ...]
    mark: SeedMark
    change: Change
    refs: Tuple[SecretRef, ...] = ()


def plan_new_seed(
    manifest: MachineManifest, desired: Desired, world: World, former: Optional[Owner]
) -> Optional[NewSeed]:
    """Return the seed of a machine that is created; None where the manifest asks for none.

    `former` is the mark that an interrupted creation left.
    """
    given = find_given(manifest, desired)
    if given is None:
        return None
    step, mark = _make(manifest, given, world, 1)
    drop: Tuple[Step, ...] = ()
    if former is not None and _is_begun(former, mark, world):
        drop = (DeleteSeed(mark.pool, mark.volume, mark.path),)
    else:
        refuse_taken(mark, former, world)
    reason = "removed after the first boot"
    change = _change(mark.field, None, _describe(mark), Effect.OFFLINE, reason)
    is_ignition = mark.field == IGNITION
    return NewSeed(
        drive=None if is_ignition else make_drive(manifest, mark),
        edits=(add_seed(manifest, mark),) if is_ignition else (),
        steps=(*drop, step),
        mark=mark,
        change=change,
        refs=list_file_refs(step.files),
    )


def plan_seed(
    manifest: MachineManifest, desired: Desired, reading: Reading, world: World, *, may_change: bool
) -> SeedPlan:
    """Return what happens to the seed of a machine that exists.

    Without `may_change` it stays as it is.
    """
    mark = reading.owner.seed if reading.owner is not None else None
    given = find_given(manifest, desired)
    if not may_change or (mark is None and given is None):
        return SeedPlan(mark)
    seed = None if given is None else render_given(manifest, given, _count(mark))
    differs = find_changed(seed, mark, world)
    if mark is None or not mark.is_attached:
        planned = _plan_without(manifest, given, mark, reading, world, differs)
    elif not mark.since:
        planned = _plan_before_start(manifest, given, mark, reading, world, differs)
    else:
        planned = _plan_after_start(manifest, given, mark, reading, world, differs)
    if seed is None or mark is None or not mark.secrets:
        return planned
    return replace(planned, notes=(*planned.notes, *find_unread_secrets(seed, world)))


def _plan_without(
    manifest: MachineManifest,
    given: Optional[Given],
    mark: Optional[SeedMark],
    reading: Reading,
    world: World,
    differs: str,
) -> SeedPlan:
    """Plan for a guest that has no seed: never had one, or has had its first boot."""
    if given is None or not differs:
        return SeedPlan(mark)
    if given.reruns:
        return _rerun(manifest, given, reading, world)
    if mark is None:
        return SeedPlan(mark, notes=(NOT_GIVEN[name_given(given)],))
    return SeedPlan(mark, notes=_find_change_notes(given, differs, is_over=True))


def _plan_before_start(
    manifest: MachineManifest,
    given: Optional[Given],
    mark: SeedMark,
    reading: Reading,
    world: World,
    differs: str,
) -> SeedPlan:
    """Plan a seed that no guest was seen running with."""
    runs_with_it = runs_with(mark, reading)
    lack = "" if runs_with_it else find_lack(mark, reading, world)
    if given is not None and lack:
        return _replace_seed(manifest, given, mark, reading, world, lack)
    if lack and mark.field == IGNITION:
        return _remove(mark, reading, lack)
    if runs_with_it:
        reason = "the time until the seed is removed begins"
        change = _change(f"{mark.field}.seed", None, "started", Effect.LIVE, reason)
        notes = _find_change_notes(given, differs)
        return SeedPlan(mark, changes=(change,), notes=notes, begins=True)
    if given is not None and differs:
        why = "no guest has used the former seed"
        return _replace_seed(manifest, given, mark, reading, world, why)
    note = f"{mark.field}: the seed is removed after the first boot"
    return SeedPlan(mark, notes=(note,), is_new=True)


def _plan_after_start(
    manifest: MachineManifest,
    given: Optional[Given],
    mark: SeedMark,
    reading: Reading,
    world: World,
    differs: str,
) -> SeedPlan:
    changed = _find_change_notes(given, differs)
    if mark.field == IGNITION:
        lack = find_lack(mark, reading, world)
        if lack and is_held(mark, reading):
            note = f"{IGNITION}: the seed is removed when the guest is off"
            return SeedPlan(mark, notes=(note, *changed))
        if lack:
            return replace(_remove(mark, reading, lack), notes=changed)
    limit = DEFAULT_REMOVE_AFTER if given is None else given.remove_after
    boot = world.find_first_boot(manifest.name, find_sign(manifest, mark))
    is_due = boot.is_finished or boot.now >= mark.since + limit
    if not is_due or (reading.is_active and not reading.is_running):
        until = show_time(mark.since + limit)
        note = (
            f"{mark.field}: the seed is removed when the first boot is over, at the latest at "
            f"{until}"
        )
        if boot.lack:
            note += f"; whether it is over is not known: {boot.lack}"
        return SeedPlan(mark, notes=(note, *changed), is_unsettled=True)
    why = f"{show_span(limit)} have passed since the first start"
    if boot.is_finished:
        why = "Windows is set up" if manifest.windows else _FINISHED[mark.field]
    if given is not None and differs and given.reruns:
        return _replace_seed(manifest, given, mark, reading, world, RERUN)
    return replace(_remove(mark, reading, why), notes=changed)


def _find_change_notes(
    given: Optional[Given], differs: str, *, is_over: bool = False
) -> Tuple[str, ...]:
    if not differs or given is None:
        return ()
    if given.reruns and not is_over:
        return (LATER,)
    return (KEPT[name_given(given)].replace(CHANGED[0], differs, 1),)


def _remove(mark: SeedMark, reading: Reading, why: str) -> SeedPlan:
    """Take the seed out of the definition, and delete its volume once QEMU needs it no more."""
    effect = Effect.LIVE if reading.is_active else Effect.OFFLINE
    stays = mark.field == IGNITION and is_held(mark, reading)
    rest = "; the seed is removed" + (", its volume when the guest is off" if stays else "")
    return SeedPlan(
        mark if stays else replace(mark, pool="", volume="", path="", since=0),
        edits=take_out_seed(mark, reading),
        eject=eject_seed(mark, reading),
        old=None if stays else DeleteSeed(mark.pool, mark.volume, mark.path),
        changes=(_change(mark.field, _describe(mark), None, effect, f"{why}{rest}"),),
    )


def _rerun(manifest: MachineManifest, given: Given, reading: Reading, world: World) -> SeedPlan:
    """Give a guest without a seed a new one."""
    former = reading.owner.seed if reading.owner is not None else None
    step, mark = _make(manifest, given, world, _count(former))
    refuse_taken(mark, reading.owner, world)
    change = _announce(former, mark, reading, RERUN)
    return SeedPlan(
        mark, edits=(add_seed(manifest, mark),), new=step, changes=(change,), is_new=True
    )


def _replace_seed(
    manifest: MachineManifest,
    given: Given,
    former: SeedMark,
    reading: Reading,
    world: World,
    why: str,
) -> SeedPlan:
    """Make a new volume, have the guest given it in place of the former one, and delete that."""
    step, mark = _make(manifest, given, world, _count(former))
    refuse_taken(mark, reading.owner, world)
    return SeedPlan(
        mark,
        edits=exchange_seed(manifest, former, mark, reading),
        eject=eject_seed(former, reading),
        new=step,
        old=DeleteSeed(former.pool, former.volume, former.path),
        changes=(_announce(former, mark, reading, why),),
        is_new=True,
    )


def _announce(former: Optional[SeedMark], mark: SeedMark, reading: Reading, why: str) -> Change:
    effect = Effect.NEXT_BOOT if reading.is_active else Effect.OFFLINE
    observed = None if former is None else f"instance {former.instance}"
    return _change(mark.field, observed, _describe(mark), effect, why)


def _change(
    path: str, observed: Optional[str], desired: Optional[str], effect: Effect, why: str
) -> Change:
    return Change(path=path, observed=observed, desired=desired, effect=effect, reason=why)


def _describe(mark: SeedMark) -> str:
    return f"seed {mark.pool}/{mark.volume}, instance {mark.instance}"


def _count(former: Optional[SeedMark]) -> int:
    return 1 if former is None else former.count + 1


def _make(
    manifest: MachineManifest, given: Given, world: World, count: int
) -> Tuple[CreateSeed, SeedMark]:
    seed = render_given(manifest, given, count)
    field = name_given(given)
    pool = choose_pool(manifest, world, field)
    number = f"-{count}" if count > 1 else ""
    volume = f"{manifest.name}-seed{number}.iso"
    if field == IGNITION:
        volume = f"{manifest.name}-ignition{number}{IGNITION_SUFFIX}"
    elif field == WINDOWS:
        volume = f"{manifest.name}-unattend{number}.iso"
    path = f"{pool.path.rstrip('/')}/{volume}"
    mark = SeedMark(
        instance=seed.instance,
        digest=seed.digest,
        count=count,
        pool=pool.name,
        volume=volume,
        path=path,
        secrets=seal_seed(seed, world),
    )
    step = CreateSeed(pool=pool.name, name=volume, path=path, digest=seed.digest, files=seed.files)
    return step, mark


def _is_begun(owner: Owner, mark: SeedMark, world: World) -> bool:
    """Whether an interrupted creation has left the volume, complete or not."""
    is_ours = owner.seed is not None and owner.seed.path == mark.path
    return is_ours and mark.volume in find_pool(world, mark.pool, mark.field).volumes
