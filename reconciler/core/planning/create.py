"""Plan a machine that does not exist: its definition, its volumes, its first start.

The order is what makes a crash harmless: the definition comes first and carries, in our mark, the
paths of volumes that are being made; a later pass knows by it which files are ours and unfinished.
"""

from __future__ import annotations

from dataclasses import replace
from typing import List, Tuple

from reconciler.core.diff import Difference, Kind, compare
from reconciler.core.domain import (
    complete_machine,
    create_domain,
    owner_xml,
    refuse_doubles,
)
from reconciler.core.domain.overlays import merge_overlays
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.model import Machine, Power
from reconciler.core.plan import (
    Action,
    ActionKind,
    Before,
    Change,
    Define,
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
from reconciler.core.planning.marks import made_with, owner_of
from reconciler.core.planning.recreate import refuse_there
from reconciler.core.planning.sources import NewDisk, path_of, resolve_disk, settle_sources
from reconciler.core.world import World


def plan_create(manifest: MachineManifest, desired: Desired, world: World) -> Action:
    """Return the CREATE action, or raise TerminalError with what stands in the way."""
    wanted = settle_sources(manifest.machine, world)
    refuse_there(manifest, world)
    caps = find_caps(world, wanted.machine or "")
    disks = tuple(resolve_disk(one, manifest, desired, world, None) for one in wanted.disks or ())
    machine = complete_machine(_with_disks(wanted, disks), caps, world.networks)
    _check(manifest, machine, wanted, desired, world)
    refuse_unoffered(machine, caps)
    made = made_with(None, manifest.name, _made(disks))
    owner = owner_of(manifest, made, made)
    xml = merge_overlays(create_domain(machine, caps, owner), wanted.overlays)
    refuse_doubles(xml, "", lambda source: path_of(source, world) or source)
    return Action(
        "VirtualMachine",
        manifest.name,
        ActionKind.CREATE,
        changes=_changes(wanted, disks),
        steps=(Define(xml), *_volumes(disks), *_finish(manifest, made)),
        before=Before(None),
    )


def _with_disks(machine: Machine, disks: Tuple[NewDisk, ...]) -> Machine:
    return replace(machine, disks=tuple(one.disk for one in disks))


def _made(disks: Tuple[NewDisk, ...]) -> Tuple[str, ...]:
    return tuple(one.disk.source or "" for one in disks if one.steps)


def _volumes(disks: Tuple[NewDisk, ...]) -> Tuple[Step, ...]:
    return tuple(step for one in disks for step in one.steps)


def _check(
    manifest: MachineManifest, machine: Machine, wanted: Machine, desired: Desired, world: World
) -> None:
    refuse_taken(manifest, (*(machine.disks or ()), *(machine.interfaces or ())), desired, world)
    refuse_absent_networks(wanted.interfaces or (), world)
    refuse_template_writes(machine, world, "disks")


def _finish(manifest: MachineManifest, made: Tuple[str, ...]) -> Tuple[Step, ...]:
    mark = owner_xml(owner_of(manifest, made=made))
    steps: List[Step] = [SetMetadata(mark, live=False)]
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
