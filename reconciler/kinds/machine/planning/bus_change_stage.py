"""What the steps of a staged bus change are made of, and what they have in common. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import FrozenSet, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.guest import GuestProof
from reconciler.core.machine import Disruption
from reconciler.core.manifest import MachineManifest, Window
from reconciler.core.names import BUS_CHANGE, BusChangeMark, Owner
from reconciler.core.plan import (
    Change,
    Define,
    DeleteSeed,
    DetachDevice,
    Effect,
    SetMetadata,
    Step,
    UpdateDevice,
)
from reconciler.core.world import Reading, World
from reconciler.kinds.machine.domain import bus_change as edits
from reconciler.kinds.machine.domain.mark import owner_xml, set_owner
from reconciler.kinds.machine.match import Difference
from reconciler.kinds.machine.planning.bus_change import Walk
from reconciler.kinds.machine.planning.guards import (
    clean_owner,
    owner_of,
    seal_secrets,
)

Steps = Tuple[Step, ...]
DAY = 24 * 60  # minutes
WEEK = 7 * DAY


@frozen
class BusWalk:
    """What a plan does about a staged bus change.

    `moves` is the effect with which the devices are moved by these steps; None: not now, for
    `reason`. `changes` are lines of its own. `is_first` says that the guest must not be started
    before these steps; `is_before` that what the plan does to its power follows them; `starts` that
    they start it. `waits` says that it goes on by itself, `stalled` why it does not.
    `awaits_window` is as in an action. `is_active` says that the mark knows of a change, `names`
    are the devices of it.
    """

    steps: Steps = ()
    changes: Tuple[Change, ...] = ()
    reason: str = ""
    moves: Optional[Effect] = None
    is_first: bool = False
    is_before: bool = False
    starts: bool = False
    waits: bool = False
    stalled: str = ""
    awaits_window: bool = False
    is_active: bool = False
    names: FrozenSet[Optional[str]] = frozenset()


@frozen
class Stage:
    """All that the steps are made of. `may_start` says that a guest that is off is to be started.

    `differences` are those of the devices that are moved, empty where they are moved already;
    `local` is the host's local time, by which maintenance windows open; `is_alone` says that the
    plan has nothing else to do, `held` why the disks stay where they are. `retried` is as in the
    plan's options.
    """

    manifest: MachineManifest
    reading: Reading
    owner: Owner
    world: World
    walk: Walk
    proof: GuestProof
    differences: Tuple[Difference, ...] = ()
    effect: Effect = Effect.OFFLINE
    policy: str = ""
    local: Optional[datetime] = None
    may_start: bool = False
    is_alone: bool = False
    retried: float = 0
    held: str = ""

    @property
    def mark(self) -> BusChangeMark:
        """The mark of a change that has begun."""
        assert self.walk.mark is not None  # noqa: S101 - only such a stage asks
        return self.walk.mark

    @property
    def xml(self) -> str:
        """The stored definition."""
        return self.reading.view.persistent_xml

    @property
    def window(self) -> str:
        """When the guest may be restarted next, where the manifest has windows for that."""
        lifecycle = self.manifest.lifecycle
        if lifecycle.disruption is not Disruption.WINDOW or self.local is None:
            return ""
        opening = _find_opening(lifecycle.windows, self.local)
        return f", which opens {opening:%a %Y-%m-%d %H:%M}" if opening is not None else ""

    @property
    def touch(self) -> Effect:
        """The effect of what no guest notices."""
        return Effect.LIVE if self.reading.is_active else Effect.OFFLINE


def _find_opening(windows: Tuple[Window, ...], now: datetime) -> Optional[datetime]:
    """Return when the next of the weekly windows opens; None where there is none."""
    minute = now.weekday() * DAY + now.hour * 60 + now.minute
    waits = [
        (day * DAY + window.start - minute - 1) % WEEK + 1
        for window in windows
        for day in window.days
    ]
    start = now.replace(second=0, microsecond=0)
    return start + timedelta(minutes=min(waits)) if waits else None


def note_line(desired: Optional[str], effect: Effect, reason: str, former: str = "") -> Change:
    """Return a line of the bus change in the plan."""
    return Change(BUS_CHANGE, former or None, desired, effect, reason=reason)


def name_helpers(mark: BusChangeMark) -> str:
    """Return the helpers as people find them: `helper disk default/VOLUME, helper card MAC`."""
    disk = f"helper disk {mark.pool}/{mark.volume}" if mark.volume else ""
    return ", ".join(filter(None, (disk, mark.mac and f"helper card {mark.mac}")))


def mark_as(stage: Stage, mark: Optional[BusChangeMark], creating: Tuple[str, ...] = ()) -> Owner:
    """Return the mark of ownership with the change in this state.

    Other volumes that a run began to make, or to delete, stay in it until a plan has removed them.
    """
    former = clean_owner(stage.owner)
    own = {known.path for known in (stage.walk.mark, mark) if known is not None} | {*creating}
    others = tuple(path for path in former.creating if path not in own)
    return replace(former, bus_change=mark, creating=(*others, *creating), worker=None)


def write_mark(stage: Stage, mark: Optional[BusChangeMark], creating: Tuple[str, ...] = ()) -> Step:
    """Return the step that writes the change's state."""
    return SetMetadata(owner_xml(mark_as(stage, mark, creating)), live=False)


def list_detaches(stage: Stage) -> Steps:
    """Return the steps that take the change's devices out of the running guest.

    A drive that cannot be unplugged stays there, empty, until the guest is off.
    """
    live = stage.reading.view.live_xml
    if live is None or not stage.reading.is_running:
        return ()
    unplugs: Steps = tuple(DetachDevice(BUS_CHANGE, each) for each in edits.list_unplugs(live))
    ejected = edits.find_ejected(live)
    return unplugs if ejected is None else (*unplugs, UpdateDevice(BUS_CHANGE, ejected))


def clear_helper(stage: Stage, xml: str, mark: Optional[BusChangeMark], *between: Step) -> Steps:
    """Store the definition, and delete the helper's volume; the mark names it until it is gone."""
    former, settled = stage.mark, mark and replace(mark, resumes=False)
    is_live = stage.reading.is_active and settled is None
    last = SetMetadata(owner_xml(end_mark(stage, settled)), live=is_live)
    if not former.path or find_keeper(stage):  # no disk was moved, or its volume stays
        define = Define(set_owner(xml, end_mark(stage, mark)))
        return (define, *between) if settled == mark else (define, *between, last)
    delete = DeleteSeed(former.pool, former.volume, former.path)
    define = Define(set_owner(xml, mark_as(stage, mark, (former.path,))))
    return (define, *between, delete, last)


def find_keeper(stage: Stage) -> str:
    """Return the snapshot of the machine that needs the helper's volume, or an empty text."""
    if not stage.mark.path:
        return ""
    for snapshot in stage.world.images.find_snapshots(stage.reading.view.name):
        if stage.mark.path in (*snapshot.images, *snapshot.overlays.values()):
            return snapshot.name
    return ""


def say_left(stage: Stage) -> str:
    """Say what stays of the helper disk, where a snapshot was made of it."""
    keeper, where = find_keeper(stage), f"{stage.mark.pool}/{stage.mark.volume}"
    helper = edits.find_own(stage.xml)
    source = None if helper is None else helper.find("source")
    image = "" if source is None else source.get("file", "")
    left = [f"volume {where}, which snapshot {keeper!r} needs"] if keeper else []
    if image and image != stage.mark.path:
        left.append(f"{image}, which lies over the helper disk")
    return f"; what stays: {', '.join(left)}" if left else ""


def end_mark(stage: Stage, mark: Optional[BusChangeMark]) -> Owner:
    """Return the mark at the end; that of a manifest which is applied in full, if it is."""
    if mark is not None or not stage.is_alone:
        return mark_as(stage, mark)
    owner = stage.owner
    secrets = seal_secrets(stage.manifest.machine, stage.world) or owner.secrets
    return owner_of(
        stage.manifest,
        made=owner.made,
        formerly=owner.formerly,
        seed=owner.seed,
        secrets=secrets,
    )
