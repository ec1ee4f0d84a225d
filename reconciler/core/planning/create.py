"""Plan a machine that does not exist: its definition, its volumes, its first start.

The order is what makes a crash harmless. The definition comes first, without the disks whose
volumes are still to be made; our mark in it names these volumes. Only when all are complete the
definition gets the disks. So no guest can open a volume that is not complete, and a volume that a
domain names is never made anew.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Iterator, List, Optional, Tuple

from reconciler.core.diff import Difference, Kind, compare
from reconciler.core.domain import (
    complete_machine,
    create_domain,
    digest,
    owner_xml,
    refuse_doubles,
    refuse_empty_usb,
    set_owner,
    without_disks,
)
from reconciler.core.domain.overlays import merge_overlays
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.model import Machine, Power
from reconciler.core.owner import Owner
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
from reconciler.core.planning.checks import (
    find_caps,
    refuse_absent_networks,
    refuse_taken,
    refuse_template_writes,
    refuse_unoffered,
)
from reconciler.core.planning.describe import describe_device
from reconciler.core.planning.images import volume_at
from reconciler.core.planning.marks import made_with, owner_of, unfinished_owner
from reconciler.core.planning.recreate import refuse_there
from reconciler.core.planning.sources import NewDisk, chain_of, resolve_disk, settle_sources
from reconciler.core.world import Reading, World

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
    disks = tuple(resolve_disk(one, manifest, desired, world, former) for one in wanted.disks or ())
    machine = complete_machine(_with_disks(wanted, disks), caps, world.networks)
    _check(manifest, machine, wanted, desired, world)
    refuse_unoffered(machine, caps)
    made = made_with(former, manifest.name, _made(disks))
    owner = owner_of(manifest, made=made)
    xml = merge_overlays(create_domain(machine, caps, owner), wanted.overlays)
    refuse_doubles(xml, "", partial(chain_of, world))
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
    return replace(machine, disks=tuple(one.disk for one in disks))


def _made(disks: Tuple[NewDisk, ...]) -> Tuple[str, ...]:
    return tuple(one.disk.source or "" for one in disks if one.steps)


def _volumes(
    manifest: MachineManifest, xml: str, disks: Tuple[NewDisk, ...], made: Tuple[str, ...]
) -> Iterator[Step]:
    """Yield the first definition, and each volume with the mark that says that it is complete."""
    new = [one for one in disks if any(isinstance(step, CreateVolume) for step in one.steps)]
    left = [one.disk.source or "" for one in new]
    if new:
        mark = unfinished_owner(manifest, left, made)
        stub = without_disks(xml, {one.disk.name for one in new})
        yield Define(set_owner(stub, mark))
    for one in disks:
        yield from one.steps
        if one in new:
            left.remove(one.disk.source or "")
        if one in new and left:  # the last is marked by the definition that has the disks
            mark = unfinished_owner(manifest, left, made)
            yield SetMetadata(owner_xml(mark), live=False)


def _drop_leftovers(
    former: Optional[Owner], disks: Tuple[NewDisk, ...], world: World
) -> Iterator[Step]:
    """Yield the deletion of unfinished volumes that the manifest does not ask for any more."""
    kept = {one.disk.source for one in disks}
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
    about = {one.disk.name: one.about for one in disks}
    return tuple(
        _change(one, about.get(one.device or "", "") if one.field == "disks[]" else "")
        for one in compare(wanted, Machine(wanted.name))
    ) + tuple(
        Change(f"xml[{one.xpath}]", None, one.fragment, Effect.OFFLINE)
        for one in wanted.overlays
        if one.present
    )


def _change(difference: Difference, about: str) -> Change:
    value = difference.desired
    if difference.kind is Kind.ADD and difference.item is not None:
        value = describe_device(difference.item, about)
    return Change(difference.path, None, value, Effect.OFFLINE)
