"""Where a disk comes from that is cloned: from a template, or from a machine's disk. Pure."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Callable, Dict, Iterable, Iterator, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.images import FILE_POOLS
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.machine import Disk, Machine, MachineOrigin
from reconciler.core.manifest import MACHINE, Desired, is_placed_here
from reconciler.core.plan import (
    Action,
    ActionKind,
    CreateVolume,
    Define,
    PlanOptions,
    Start,
    Step,
)
from reconciler.core.preparation import Preparation
from reconciler.core.transfers import CopiedDisk, CopyDisks
from reconciler.core.units import format_size
from reconciler.core.world import GuestState, PoolView, Reading, Unknown, VolumeView, World
from reconciler.core.xmltree import parse
from reconciler.errors import MissingError, TerminalError, TransientError
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import by_name
from reconciler.kinds.machine.planning.images import volume_at

_OFF_OR_UP = (GuestState.OFF, GuestState.RUNNING, GuestState.PAUSED, GuestState.PMSUSPENDED)
RUNNING_COPY = "allocated"  # how the volume is made that a running machine is copied into


@frozen
class NewDisk:
    """A disk whose volume has still to be made, and the steps that make it.

    `is_together`: its steps come after those of other disks, with those that are like it.
    """

    disk: Disk
    steps: Tuple[Step, ...]
    about: str
    notes: Tuple[str, ...] = ()
    is_together: bool = False


@frozen
class Origin:
    """The image that a disk is cloned from, and how. `what` is what it belongs to.

    `machine` is the name of the machine whose disk it is; `source` and `target` are that machine
    and its disk where it is there already. `sealing` is what is known of a Windows in it; `unread`
    the system, if it can be read only when it was fetched.
    """

    what: str
    volume: VolumeView
    mode: str
    source: Optional[Reading] = None
    target: str = ""
    machine: str = ""
    is_frozen: bool = False
    preparation: Optional[Preparation] = None
    sealing: str = ""
    unread: str = ""

    @property
    def is_live(self) -> bool:
        """Whether the machine runs that it is copied from."""
        return self.mode == RUNNING_COPY

    def describe(self, step: CreateVolume) -> str:
        """Return like `full clone of template rocky9 as default/web01-root.qcow2`."""
        where = f"{step.pool}/{step.name}"
        if not self.is_live:
            sealing = f" ({self.sealing})" if self.sealing else ""
            words = f"{self.mode} clone of {self.what}{sealing} as {where}"
            return words if self.preparation is None else f"{words}, {self.preparation.describe()}"
        name = self.source.view.name if self.source else ""
        how = "file systems frozen for the copy" if self.is_frozen else "crash-consistent"
        size = format_size(self.volume.capacity)
        return f"copy of {self.what} ({size}) as {where}, copied while {name} runs: {how}"


SourcePlans = Callable[[str], Action]
"""The plan of a machine that is cloned, by its name."""


def plan_sources(desired: Desired, world: World) -> SourcePlans:
    """Return what plans machines that are cloned, each of them once."""

    @cache
    def plan_source(name: str) -> Action:
        manifest = desired.objects[Key(MACHINE, name)]
        return find_row(MACHINE).plan(manifest, desired, world, PlanOptions())

    return plan_source


def find_machine_origin(
    disk: Disk,
    origin: MachineOrigin,
    desired: Desired,
    world: World,
    pool: PoolView,
    plan_source: SourcePlans,
) -> Origin:
    """Return the disk of a machine to copy. Raises TerminalError, TransientError."""
    where = f"disks[{disk.name}].source.clone"
    reading = _find_machine(origin, desired, world, where)
    if reading is None:
        return _find_planned_origin(disk, origin, plan_source(origin.machine), world, where)
    view, state = reading.view, reading.view.state
    name = shlex.quote(view.name)
    if view.saved:
        raise TerminalError(
            f"{where}: {view.name} has a saved state, so its disks are not up to date; start it "
            f"(virsh start {name}), and clone it while it runs or after it was shut down"
        )
    if state not in _OFF_OR_UP:
        raise TransientError(f"{where}: {view.name} is {state.value}; apply again when it is not")
    machine = reading.persistent if reading.live is None else reading.live
    named = _find_disk(disk, origin, machine, where)
    volume = volume_at(world, named.source)
    if volume is None:
        raise TerminalError(
            f"{where}: {named.source or 'the disk'} is in no active storage pool; define one over "
            "its folder (virsh pool-define-as NAME dir --target FOLDER, pool-start NAME)"
        )
    what = f"machine {view.name}, disk {named.name},"
    if reading.live is None:
        can_share = volume.backing is None and world.can_share(pool.name, volume.path)
        mode = "reflink" if can_share else "full"
        return Origin(what, volume, mode, source=reading, machine=view.name)
    if pool.type not in FILE_POOLS:
        raise TerminalError(
            f"{where}: {view.name} runs, and is then copied into a pool of files only; pool "
            f"{pool.name!r} is of type {pool.type}: shut {view.name} down, or name another pool"
        )
    target = named.target or ""
    return Origin(
        what=what,
        volume=volume,
        mode=RUNNING_COPY,
        source=reading,
        target=target,
        machine=view.name,
        is_frozen=origin.freeze,
    )


def _find_machine(
    origin: MachineOrigin, desired: Desired, world: World, where: str
) -> Optional[Reading]:
    """Return the machine to copy, None if it is not there and its manifest says what it will be."""
    reading = world.domains.get(origin.machine)
    if isinstance(reading, Unknown):
        raise TransientError(f"{where}: {origin.machine} cannot be read: {reading.reason}")
    if reading is not None:
        return reading
    manifest = desired.objects.get(Key(MACHINE, origin.machine))
    if manifest is not None and is_placed_here(manifest, world.host):
        return None
    raise MissingError(
        f"{where}: no machine {origin.machine!r} on this host: virsh list --all --name"
    )


def _find_planned_origin(
    disk: Disk, origin: MachineOrigin, action: Action, world: World, where: str
) -> Origin:
    """Return the disk of a machine that the same plan creates first, and does not start.

    Raises TransientError if that cannot be, or the disk would be copied while its guest boots.
    """
    name = origin.machine
    xml = next((step.xml for step in reversed(action.steps) if isinstance(step, Define)), "")
    if action.action is not ActionKind.CREATE or not xml:
        why = action.reason or "see its own plan"
        raise TransientError(f"{where}: {name} is not there, and cannot be created now: {why}")
    if any(isinstance(step, Start) for step in action.steps):
        raise TransientError(
            f"{where}: {name} is created and started by this plan, and would be copied while it "
            "boots; apply again once its guest is ready"
        )
    named = _find_disk(disk, origin, read_machine(parse(xml)), where)
    made = [step for step in action.steps if isinstance(step, CreateVolume)]
    step = next((step for step in made if step.disk == named.name), None)
    volume = volume_at(world, named.source)
    if step is not None and step.capacity is not None and named.source:
        volume = VolumeView(
            pool=step.pool,
            name=step.name,
            path=named.source,
            format=step.format,
            capacity=step.capacity,
        )
    if volume is None:
        raise TransientError(
            f"{where}: {name} is created first, and the size of its disk {named.name} is not known "
            "before that; apply again"
        )
    what = f"machine {name} (created first), disk {named.name},"
    return Origin(what, volume, "full", machine=name)


def _find_disk(disk: Disk, origin: MachineOrigin, machine: Machine, where: str) -> Disk:
    disks = machine.disks or ()
    named: Optional[Disk] = by_name(disks, origin.disk or disk.name)
    if named is None and origin.disk is None and len(disks) == 1:
        return disks[0]
    if named is None:
        there = ", ".join(item.name for item in disks) or "none"
        raise TerminalError(
            f"{where}: {origin.machine} has no disk {origin.disk or disk.name!r}; give `disk`; "
            f"there are: {there}"
        )
    return named


def write_copy(disk: Disk, step: CreateVolume, path: str, origin: Origin) -> Tuple[Step, ...]:
    """Return the steps that fill a volume from a disk of a running machine."""
    if not origin.is_live or origin.source is None:
        return ()
    view = origin.source.view
    grows = disk.size is not None and disk.size > origin.volume.capacity
    size = disk.size if grows else None
    copied = CopiedDisk(disk.name, origin.target, path, format=step.format, capacity=size)
    return (CopyDisks(view.name, view.uuid, (copied,), origin.is_frozen),)


def merge_copies(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps in an order in which all disks of a machine are copied at one moment."""
    copies: Dict[str, CopyDisks] = {}
    for step in steps:
        if isinstance(step, CopyDisks):
            former = copies.get(step.machine, replace(step, disks=()))
            copies[step.machine] = replace(
                former,
                disks=(*former.disks, *step.disks),
                is_frozen=former.is_frozen or step.is_frozen,
            )
        else:
            yield step
    yield from copies.values()
