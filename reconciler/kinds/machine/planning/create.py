"""Plan a machine that does not exist: its definition, its volumes, its first start.

The order is what makes a crash harmless. The definition comes first, without the disks whose
volumes are still to be made; our mark in it names these volumes. Only when all are complete the
definition gets the disks. So no guest can open a volume that is not complete, and a volume that a
domain names is never made anew.
"""

from __future__ import annotations

from functools import partial
from typing import Iterator, List, Optional, Tuple

from reconciler.core.frozen import replace
from reconciler.core.machine import Machine, Power
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import Owner
from reconciler.core.plan import (
    Action,
    ActionKind,
    Before,
    Change,
    CreateVolume,
    Define,
    DeletePartial,
    Effect,
    SetAutostart,
    SetMetadata,
    Start,
    Step,
)
from reconciler.core.world import Reading, World
from reconciler.core.xmltree import digest
from reconciler.kinds.machine.domain.create import complete_machine, create_domain, without_disks
from reconciler.kinds.machine.domain.mark import owner_xml, set_owner
from reconciler.kinds.machine.domain.overlays import merge_overlays
from reconciler.kinds.machine.domain.soundness import refuse_doubles, refuse_empty_usb
from reconciler.kinds.machine.match import Difference, DifferenceKind, compare
from reconciler.kinds.machine.planning.checks import (
    find_caps,
    refuse_absent_networks,
    refuse_taken,
    refuse_template_writes,
    refuse_unoffered,
)
from reconciler.kinds.machine.planning.decide import describe_device
from reconciler.kinds.machine.planning.guards import made_with, owner_of, unfinished_owner
from reconciler.kinds.machine.planning.images import volume_at, with_own_images
from reconciler.kinds.machine.planning.recreate import refuse_there
from reconciler.kinds.machine.planning.sources import (
    NewDisk,
    chain_of,
    resolve_disk,
    settle_sources,
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
    disks = tuple(
        resolve_disk(disk, manifest, desired, world, former) for disk in wanted.disks or ()
    )
    machine = complete_machine(_with_disks(wanted, disks), caps, world.list_networks())
    _check(manifest, machine, wanted, desired, world)
    refuse_unoffered(machine, caps)
    made = made_with(former, manifest.name, _made(disks))
    owner = owner_of(manifest, made=made)
    xml = merge_overlays(create_domain(machine, caps, owner), wanted.overlays)
    refuse_doubles(xml, "", partial(chain_of, with_own_images(world, begun)))
    refuse_empty_usb(xml, "")
    return Action(
        "VirtualMachine",
        manifest.name,
        ActionKind.CREATE,
        changes=_changes(wanted, disks),
        steps=(
            *_drop_leftovers(former, disks, world),
            *_volumes(manifest, xml, disks, made),
            Define(xml),
            *_finish(manifest),
        ),
        before=Before(None if begun is None else digest(begun.view.persistent_xml)),
        notes=() if begun is None else (RESUMED,),
    )


def _with_disks(machine: Machine, disks: Tuple[NewDisk, ...]) -> Machine:
    return replace(machine, disks=tuple(disk.disk for disk in disks))


def _made(disks: Tuple[NewDisk, ...]) -> Tuple[str, ...]:
    return tuple(disk.disk.source or "" for disk in disks if disk.steps)


def _volumes(
    manifest: MachineManifest, xml: str, disks: Tuple[NewDisk, ...], made: Tuple[str, ...]
) -> Iterator[Step]:
    """Yield the first definition, and each volume with the mark that says that it is complete."""
    new = [disk for disk in disks if any(isinstance(step, CreateVolume) for step in disk.steps)]
    left = [disk.disk.source or "" for disk in new]
    if new:
        mark = unfinished_owner(manifest, left, made)
        stub = without_disks(xml, {disk.disk.name for disk in new})
        yield Define(set_owner(stub, mark))
    for disk in disks:
        yield from disk.steps
        if disk in new:
            left.remove(disk.disk.source or "")
        if disk in new and left:  # the last is marked by the definition that has the disks
            mark = unfinished_owner(manifest, left, made)
            yield SetMetadata(owner_xml(mark), live=False)


def _drop_leftovers(
    former: Optional[Owner], disks: Tuple[NewDisk, ...], world: World
) -> Iterator[Step]:
    """Yield the deletion of unfinished volumes that the manifest does not ask for any more."""
    kept = {disk.disk.source for disk in disks}
    for path in former.creating if former else ():
        volume = volume_at(world, path)
        if volume is not None and path not in kept and not world.images.find_users(path):
            yield DeletePartial("", volume.pool, volume.name)


def _check(
    manifest: MachineManifest, machine: Machine, wanted: Machine, desired: Desired, world: World
) -> None:
    refuse_taken(manifest, (*(machine.disks or ()), *(machine.interfaces or ())), desired, world)
    refuse_absent_networks(wanted.interfaces or (), world)
    refuse_template_writes(machine, world, "disks")


def _finish(manifest: MachineManifest) -> Tuple[Step, ...]:
    steps: List[Step] = []
    if manifest.machine.autostart:
        steps.append(SetAutostart(enabled=True))
    if manifest.machine.power is Power.RUNNING:
        steps.append(Start())
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
    value = difference.desired
    if difference.kind is DifferenceKind.ADD and difference.item is not None:
        value = describe_device(difference.item, about)
    return Change(difference.path, None, value, Effect.OFFLINE)
