"""Plan a machine that does not exist: its definition, its volumes, its first start.

The order is what makes a crash harmless. The definition comes first, without the disks whose
volumes are still to be made; our mark in it names these volumes. Only when all are complete the
definition gets the disks. So no guest can open a volume that is not complete, and a volume that a
domain names is never made anew.
"""

from __future__ import annotations

from functools import partial
from typing import Iterator, List, Optional, Sequence, Tuple

from reconciler.core.cloud_init import SEED_DRIVE
from reconciler.core.frozen import replace
from reconciler.core.machine import Machine, Power, describe_device
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import Owner
from reconciler.core.plan import (
    Action,
    ActionKind,
    Before,
    Change,
    CreateSeed,
    CreateVolume,
    Define,
    DeletePartial,
    Effect,
    RecordStart,
    SetAutostart,
    SetMetadata,
    Start,
    Step,
)
from reconciler.core.preparation import PrepareVolume
from reconciler.core.secret_refs import SecretRef
from reconciler.core.world import Reading, Unknown, World
from reconciler.core.xmltree import digest
from reconciler.kinds.machine.domain.create import complete_machine, create_domain, without_volumes
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.mark import owner_xml, set_owner
from reconciler.kinds.machine.domain.overlays import merge_overlays
from reconciler.kinds.machine.domain.soundness import refuse_doubles, refuse_empty_usb
from reconciler.kinds.machine.match import Difference, DifferenceKind, compare, show_values
from reconciler.kinds.machine.planning.checks import (
    find_caps,
    refuse_absent_networks,
    refuse_borrowed,
    refuse_taken,
    refuse_template_writes,
    refuse_unoffered,
)
from reconciler.kinds.machine.planning.first_boot import NewSeed, plan_new_seed
from reconciler.kinds.machine.planning.guards import (
    list_refs,
    made_with,
    owner_of,
    seal_secrets,
    unfinished_owner,
)
from reconciler.kinds.machine.planning.images import settle_sources, volume_at, with_own_images
from reconciler.kinds.machine.planning.machine_copies import NewDisk, merge_copies, plan_sources
from reconciler.kinds.machine.planning.recreate import refuse_there
from reconciler.kinds.machine.planning.sources import (
    chain_of,
    resolve_disk,
)

RESUMED = "an earlier run was stopped while it created this machine; this run completes it"


def plan_create(
    manifest: MachineManifest, desired: Desired, world: World, begun: Optional[Reading] = None
) -> Action:
    """Return the CREATE action, or raise TerminalError with what stands in the way.

    `begun` is what an interrupted creation left.
    """
    wanted = settle_sources(manifest.machine, world)
    if begun is None:
        refuse_there(manifest, world)
    else:
        wanted = replace(wanted, uuid=begun.view.uuid)
    former = begun.owner if begun is not None else None
    caps = find_caps(world, wanted.machine or "")
    plans = plan_sources(desired, world)
    disks = tuple(
        resolve_disk(disk, manifest, desired, world, former, plans) for disk in wanted.disks or ()
    )
    seed = plan_new_seed(manifest, desired, world, former)
    drives = _with_drives(wanted, disks, seed)
    machine = complete_machine(drives, caps, world.list_networks())
    _check(manifest, machine, wanted, desired, world)
    refuse_unoffered(machine, caps)
    made = made_with(former, manifest.name, _made(disks))
    secrets = seal_secrets(manifest.machine, world)
    owner = owner_of(manifest, made=made, seed=seed.mark if seed else None, secrets=secrets)
    plain = edit_domain(create_domain(machine, caps, owner), seed.edits if seed else ())
    xml = merge_overlays(plain, wanted.overlays)
    refs = (*list_refs(manifest.machine), *(seed.refs if seed else ()))
    refuse_borrowed(manifest, plain, xml, desired, world)
    refuse_doubles(xml, "", partial(chain_of, with_own_images(world, begun)))
    refuse_empty_usb(xml, "")
    return Action(
        "VirtualMachine",
        manifest.name,
        ActionKind.CREATE,
        changes=(*_changes(wanted, disks), *((seed.change,) if seed else ())),
        steps=(
            *_drop_leftovers(former, disks, seed, world),
            *_volumes(manifest, xml, disks, made, seed),
            Define(xml),
            *_finish(manifest, seed),
        ),
        before=Before(None if begun is None else digest(begun.view.persistent_xml)),
        notes=(
            *(() if begun is None else (RESUMED,)),
            *_find_unread(refs, disks, world),
            *dict.fromkeys(note for disk in disks for note in disk.notes),
        ),
    )


def _find_unread(
    refs: Sequence[SecretRef], disks: Tuple[NewDisk, ...], world: World
) -> Iterator[str]:
    steps = (step for disk in disks for step in disk.steps if isinstance(step, PrepareVolume))
    others = (ref for step in steps for ref in step.preparation.refs)
    for ref in dict.fromkeys((*refs, *others)):
        secret = world.find_secret(ref)
        if isinstance(secret, Unknown):
            yield f"nothing is created until its secret can be read: {secret.reason}"


def _with_drives(machine: Machine, disks: Tuple[NewDisk, ...], seed: Optional[NewSeed]) -> Machine:
    machine = replace(machine, disks=tuple(disk.disk for disk in disks))
    if seed is None or seed.drive is None:
        return machine
    return replace(machine, cdroms=(*(machine.cdroms or ()), seed.drive))


def _made(disks: Tuple[NewDisk, ...]) -> Tuple[str, ...]:
    return tuple(disk.disk.source or "" for disk in disks if disk.steps)


def _volumes(
    manifest: MachineManifest,
    xml: str,
    disks: Tuple[NewDisk, ...],
    made: Tuple[str, ...],
    seed: Optional[NewSeed],
) -> Tuple[Step, ...]:
    steps = tuple(_list_volumes(manifest, xml, disks, made, seed))
    if not any(disk.disk.imported for disk in disks):
        return steps
    from reconciler.kinds.machine.planning.imported_disks import merge_imports  # noqa: PLC0415

    return merge_imports(steps)


def _list_volumes(
    manifest: MachineManifest,
    xml: str,
    disks: Tuple[NewDisk, ...],
    made: Tuple[str, ...],
    seed: Optional[NewSeed],
) -> Iterator[Step]:
    """Yield the first definition, and each volume with the mark that says that it is complete."""
    volumes = [(disk.disk.name, disk.disk.source or "", disk.steps) for disk in disks]
    if seed is not None:
        volumes.append((SEED_DRIVE, seed.mark.path, seed.steps))
    new = {
        name: path
        for name, path, steps in volumes
        if any(isinstance(step, (CreateVolume, CreateSeed)) for step in steps)
    }
    left = list(new.values())
    given = seed.mark if seed else None
    if new:
        mark = unfinished_owner(manifest, left, made, given)
        yield Define(set_owner(without_volumes(xml, new), mark))
    copying: List[Step] = []
    together = {disk.disk.name for disk in disks if disk.is_together}
    for name, path, steps in volumes:
        if name in together:  # all are copied at one moment
            copying.extend(steps)
            continue
        yield from steps
        if name in new:
            left.remove(path)
        if name in new and left:  # the last is marked by the definition that has the disks
            mark = unfinished_owner(manifest, left, made, given)
            yield SetMetadata(owner_xml(mark), live=False)
    yield from merge_copies(copying)


def _drop_leftovers(
    former: Optional[Owner], disks: Tuple[NewDisk, ...], seed: Optional[NewSeed], world: World
) -> Iterator[Step]:
    """Yield the deletion of unfinished volumes that the manifest does not ask for any more."""
    kept = {disk.disk.source for disk in disks} | ({seed.mark.path} if seed else set())
    left = set(former.creating if former else ())
    if former is not None and former.seed is not None:
        left.add(former.seed.path)
    for path in sorted(left - {""}):
        volume = volume_at(world, path)
        if volume is not None and path not in kept and not world.images.find_users(path):
            yield DeletePartial("", volume.pool, volume.name)


def _check(
    manifest: MachineManifest, machine: Machine, wanted: Machine, desired: Desired, world: World
) -> None:
    refuse_taken(manifest, (*(machine.disks or ()), *(machine.interfaces or ())), desired, world)
    refuse_absent_networks(wanted.interfaces or (), world)
    refuse_template_writes(machine, world, "disks")


def _finish(manifest: MachineManifest, seed: Optional[NewSeed]) -> Tuple[Step, ...]:
    steps: List[Step] = []
    if manifest.machine.autostart:
        steps.append(SetAutostart(enabled=True))
    if manifest.machine.power is Power.RUNNING:
        steps.append(Start())
        if seed is not None:
            steps.append(RecordStart())
    return tuple(steps)


def _changes(wanted: Machine, disks: Tuple[NewDisk, ...]) -> Tuple[Change, ...]:
    """List what the manifest says, and nothing that a default fills in."""
    about = {disk.disk.name: disk.about for disk in disks}
    return tuple(
        _change(
            difference,
            about.get(difference.device or "", "") if difference.field == "disks[]" else "",
        )
        for difference in compare(wanted, Machine(wanted.name))
    ) + tuple(
        Change(f"xml[{overlay.xpath}]", None, overlay.fragment, Effect.OFFLINE)
        for overlay in wanted.overlays
        if overlay.present
    )


def _change(difference: Difference, about: str) -> Change:
    _, value = show_values(difference)
    if difference.kind is DifferenceKind.ADD and difference.item is not None:
        value = describe_device(difference.item, about)
    return Change(difference.path, None, value, Effect.OFFLINE)
