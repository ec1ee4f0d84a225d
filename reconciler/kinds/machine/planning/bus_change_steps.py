"""The five steps of a staged bus change, as the lines and steps of a plan. Pure.

Each leaves a sound domain wherever it is interrupted: the mark says first what is begun, and the
disks are moved in one definition, while the guest is off.
"""

from __future__ import annotations

import hashlib
import shlex
from typing import Tuple

from reconciler.core.frozen import replace
from reconciler.core.guest import STORAGE_DRIVERS
from reconciler.core.guests import is_windows
from reconciler.core.machine import Disk, Disruption, Interface, Power
from reconciler.core.names import (
    BUS_CHANGE,
    HELPER,
    HELPER_CARD,
    HELPER_SIZE,
    HELPER_SUFFIX,
    BusChangeMark,
    derive_mac,
)
from reconciler.core.plan import (
    AttachDevice,
    CreateVolume,
    Define,
    DeletePartial,
    Effect,
    RecordStart,
    Shutdown,
    Start,
    Step,
)
from reconciler.core.units import show_span, show_time
from reconciler.core.virtio_win import NETWORK_DRIVER
from reconciler.errors import RefusedError
from reconciler.kinds.machine.domain import bus_change as edits
from reconciler.kinds.machine.domain.devices import find_cramped
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.bus_change import (
    Evidence,
    describe_hold,
    find_evidence,
    find_missing,
)
from reconciler.kinds.machine.planning.bus_change_stage import (
    BusWalk,
    Stage,
    Steps,
    clear_helper,
    list_detaches,
    mark_as,
    name_helpers,
    note_line,
    say_left,
    write_mark,
)
from reconciler.kinds.machine.planning.images import find_pool
from reconciler.kinds.machine.planning.seed_carriers import choose_pool
from reconciler.kinds.machine.planning.states import say_state

_DIGITS = 12


def has_slot(live_xml: str, mark: BusChangeMark) -> bool:
    """Whether the running guest has room for the helpers that it lacks."""
    disk, card = Disk(HELPER, mark.bus), Interface(HELPER_CARD, model=mark.model)
    lacking = [name for name in mark.own if edits.find_own(live_xml, name) is None]
    helpers = [
        Difference(field, DifferenceKind.ADD, device=item.name, item=item)
        for field, item in (("disks[]", disk), ("interfaces[]", card))
        if item.name in lacking
    ]
    return not find_cramped(live_xml, helpers)


def _begin(stage: Stage) -> BusChangeMark:
    """Return the mark of a change that begins, or begins again."""
    values = {difference.field: str(difference.desired) for difference in stage.differences}
    bus, model = values.get("disks[].bus", ""), values.get("interfaces[].model", "")
    mark = BusChangeMark(
        bus=bus,
        model=model,
        mac=_derive_mac(stage) if model else "",
        media=_find_media(stage, STORAGE_DRIVERS[bus] if bus else NETWORK_DRIVER),
        begun=stage.walk.now,
        generation=stage.manifest.generation,
        moved=edits.keep_former(stage.xml, stage.differences),
    )
    return _name_disk(stage, mark) if bus else mark


def _derive_mac(stage: Stage) -> str:
    """Return the MAC of the helper card, where libvirt can make a card that is on no network."""
    if stage.world.uri.endswith("/session"):
        raise RefusedError(
            "libvirt of a user cannot make the helper card, which is on no network: set "
            "lifecycle.busChange: direct"
        )
    return derive_mac(stage.manifest.name, HELPER_CARD)


def _name_disk(stage: Stage, mark: BusChangeMark) -> BusChangeMark:
    """Say in the mark of a change that begins which helper disk it has."""
    pool = choose_pool(stage.manifest, stage.world, BUS_CHANGE, "the helper disk")
    volume = f"{stage.manifest.name}{HELPER_SUFFIX}"
    digest = hashlib.sha256(f"{volume} {stage.reading.view.uuid} {stage.walk.now}".encode())
    return replace(
        mark,
        serial=f"VRBC{digest.hexdigest()[:_DIGITS].upper()}",
        pool=pool.name,
        volume=volume,
        path=f"{pool.path.rstrip('/')}/{volume}",
    )


def _find_media(stage: Stage, driver: str) -> str:
    """Return the ISO with the drivers of a Windows, if this host has one that suits it."""
    if not is_windows(stage.manifest.machine.os):
        return ""
    from reconciler.kinds.machine.planning.windows_guests import find_drivers  # noqa: PLC0415

    medium = find_drivers(stage.manifest, stage.world, driver, only_isos=True).medium
    return "" if medium is None else medium.path


def prepare(stage: Stage) -> BusWalk:
    """Make the helpers, store them, and plug them in: whichever of these is still to be done."""
    former = stage.walk.mark
    is_new = former is None or former.is_over
    mark = _begin(stage) if is_new or former is None else former
    lacks_volume = bool(mark.serial) and _lacks_volume(stage, mark)
    steps: Steps = ()
    if is_new or lacks_volume or not stage.walk.has_helper:
        made = _make_disk(stage, mark) if lacks_volume else ()
        steps = (*made, _define_helpers(stage, mark))
    xml = steps[-1].xml if steps and isinstance(steps[-1], Define) else stage.xml
    live, effect = stage.reading.view.live_xml, Effect.OFFLINE
    if live is not None and stage.reading.is_running and has_slot(live, mark):
        steps += tuple(AttachDevice(BUS_CHANGE, each) for each in edits.list_plugs(live, mark, xml))
        effect = Effect.LIVE
    elif live is not None:
        effect = Effect.NEXT_BOOT
    drive, how = _describe_drive(stage, mark)
    reason = f"step 1 of 5: by this the guest is to show that it has the driver of {mark.aim}"
    return BusWalk(
        steps,
        (note_line(_describe_helpers(mark) + drive, effect, reason + how),),
        f"step 1 of 5: the guest must show first that it has the driver of {mark.aim}; to move it "
        "at once, set lifecycle.busChange: direct",
    )


def _describe_helpers(mark: BusChangeMark) -> str:
    disk = f"helper disk on {mark.bus}, {HELPER_SIZE // 2**30}GiB as {mark.pool}/{mark.volume}"
    card = f"helper card {mark.mac} ({mark.model}), on no network"
    return ", ".join(filter(None, (mark.serial and disk, mark.mac and card)))


def _describe_drive(stage: Stage, mark: BusChangeMark) -> Tuple[str, str]:
    """Return what the plan says of the drive with the drivers, and how they come at once."""
    live = stage.reading.view.live_xml
    if not mark.media or edits.has_drivers(live or stage.xml, mark):
        return "", ""
    if live is None:
        return f", CD-ROM {mark.media}", ""
    return f", CD-ROM {mark.media} at its next start", (
        "; a drive cannot be plugged into a running guest. To have the drivers there at once: "
        f"media: {mark.media} in one of its cdroms"
    )


def _define_helpers(stage: Stage, mark: BusChangeMark) -> Step:
    xml = edits.add_own(stage.xml, mark, *filter(None, (stage.reading.view.live_xml,)))
    return Define(set_owner(xml, mark_as(stage, mark)))


def _lacks_volume(stage: Stage, mark: BusChangeMark) -> bool:
    """Whether the helper's volume is not there, or not whole; one that is may be in use."""
    if mark.volume not in find_pool(stage.world, mark.pool, BUS_CHANGE).volumes:
        return True
    known, is_partial = stage.owner.bus_change, mark.path in stage.owner.creating
    if not (is_partial or (known and known.path == mark.path)):
        raise RefusedError(
            f"{BUS_CHANGE}: volume {mark.volume!r} exists already in pool {mark.pool!r}, and no "
            "record shows that it is a helper disk of this machine. If nobody needs it: virsh "
            f"vol-delete --pool {shlex.quote(mark.pool)} {shlex.quote(mark.volume)}"
        )
    return is_partial


def _make_disk(stage: Stage, mark: BusChangeMark) -> Steps:
    is_there = mark.volume in find_pool(stage.world, mark.pool, BUS_CHANGE).volumes
    begun = write_mark(stage, mark, (mark.path,))
    drop: Steps = (DeletePartial("", mark.pool, mark.volume),) if is_there else ()
    make = CreateVolume(
        disk=HELPER, pool=mark.pool, name=mark.volume, format="qcow2", capacity=HELPER_SIZE
    )
    return (begun, *drop, make)


def await_plug(stage: Stage) -> BusWalk:
    """Wait for the start that gives the guest its helpers."""
    since = show_time(stage.mark.begun)
    why = "the running guest has no free PCI slot" if stage.reading.is_active else ""
    reason = (
        f"step 1 of 5: waits since {since} for the next start of the guest, which gives it the "
        f"{stage.mark.helpers}{f' ({why})' if why else ''}"
    )
    return BusWalk(reason=reason, waits=True)


def prove(stage: Stage) -> BusWalk:
    """Remember what the guest has shown; go on at once where the guest may be restarted."""
    evidence = find_evidence(stage.mark, stage.reading, stage.proof)
    mark = replace(stage.mark, proved=stage.walk.now, driver=evidence.drivers)
    if _may_restart(stage):
        return _switch_running(stage, mark, _tell(mark, evidence))
    reason = f"step 2 of 5: {_tell(mark, evidence)}"
    walk = _await_off(stage, mark)
    line = note_line(f"driver of {mark.aim} in the guest", Effect.LIVE, reason)
    return replace(walk, steps=(write_mark(stage, mark),), changes=(line,))


def _tell(mark: BusChangeMark, evidence: Evidence) -> str:
    at = f" at {evidence.pci}" if evidence.pci else ""
    disk, card = (
        f", by driver {driver}" if driver else ""
        for driver in (evidence.driver, evidence.card_driver)
    )
    remark = f"; {evidence.remark}" if evidence.remark else ""
    shown = [f"the helper disk{at}{disk}"] if mark.serial else []
    shown += [f"the helper card {mark.mac}{card}"] if mark.mac else []
    return f"the guest shows {' and '.join(shown)}{remark}"


def _await_off(stage: Stage, mark: BusChangeMark) -> BusWalk:
    waits = {
        Disruption.NEVER: "when the guest is off (lifecycle.disruption is never)",
        Disruption.WHEN_OFF: "when the guest is off (lifecycle.disruption is whenOff)",
        Disruption.WINDOW: "when the guest is off, or restarted in the next maintenance window"
        f"{stage.window}",
    }
    disruption = stage.manifest.lifecycle.disruption
    when = waits.get(disruption, "when the guest is off")
    driver = f" ({mark.driver})" if mark.driver else ""
    return BusWalk(
        reason=f"step 3 of 5: the guest has shown its driver{driver} at {show_time(mark.proved)}; "
        f"{stage.held or f'the {mark.what} are moved {when}'}",
        waits=True,
        awaits_window=disruption is Disruption.WINDOW and not stage.held,
    )


def switch(stage: Stage) -> BusWalk:
    """Move the disks and cards while the guest is off."""
    if stage.held:
        return _await_off(stage, stage.mark)
    if stage.reading.is_running and _may_restart(stage):
        return _switch_running(stage, stage.mark, "the guest has shown its driver")
    if not stage.walk.is_off:
        return _stay(stage) if stage.mark.resumes else _await_off(stage, stage.mark)
    starts = stage.may_start
    steps: Steps = (_define_switch(stage, stage.mark), *(_START if starts else ()))
    reason = f"step 3 of 5: the {stage.mark.what} are moved while the guest is off"
    return BusWalk(steps, (), reason, Effect.OFFLINE, is_first=True, starts=starts)


def _stay(stage: Stage) -> BusWalk:
    """Forget that the guest was to be shut down: it did not, and may not be any more."""
    reason = "step 3 of 5: the guest did not shut down in time; who turns it off now, keeps it off"
    steps = (write_mark(stage, replace(stage.mark, resumes=False)),)
    walk = _await_off(stage, stage.mark)
    return replace(walk, steps=steps, changes=(note_line("power", Effect.LIVE, reason),))


def _may_restart(stage: Stage) -> bool:
    """Whether the guest is shut down for the change and started; one that is to stop stays off."""
    is_allowed = stage.effect is Effect.RESTART and not stage.held
    return is_allowed and stage.manifest.machine.power is not Power.STOPPED


_START: Steps = (Start(), RecordStart())


def _switch_running(stage: Stage, mark: BusChangeMark, why: str) -> BusWalk:
    mark = replace(mark, resumes=True)
    lifecycle = stage.manifest.lifecycle
    steps: Steps = (
        write_mark(stage, mark),
        Shutdown(lifecycle.shutdown_timeout, force=False),
        _define_switch(stage, mark),
        *_START,
    )
    reason = f"step 3 of 5: {why}; it is shut down, moved and started ({stage.policy})"
    return BusWalk(steps, (), reason, Effect.RESTART, is_first=True, starts=True)


def _define_switch(stage: Stage, mark: BusChangeMark) -> Step:
    xml, moved = edits.switch_bus(stage.xml, mark, stage.differences)
    mark = replace(mark, switched=stage.walk.now, started=0, moved=moved)
    return Define(set_owner(xml, mark_as(stage, mark)))


def await_guest(stage: Stage) -> BusWalk:
    """Wait for a guest that is neither off nor running; that does not use up its time."""
    mark, why = stage.walk.mark, describe_hold(stage.reading.view)
    if mark is None or not mark.switched:
        step = 1 if mark is None or not mark.proved else 3
        return BusWalk(reason=f"step {step} of 5: waits for the guest: {why}", waits=True)
    is_ending, limit = stage.walk.is_ending, show_span(stage.manifest.lifecycle.bus_change.timeout)
    anew = "" if is_ending else f"; when it runs again it has {limit} to show its {mark.what}"
    reason = f"step 4 of 5: waits for the guest: {why}{anew}"
    line = note_line(f"{mark.what} on {mark.aim}", Effect.WITHHELD, reason)
    if not mark.started or is_ending:
        return BusWalk(changes=(line,), waits=True)
    again = write_mark(stage, replace(mark, started=0))
    return BusWalk((again,), (line,), is_first=True, is_before=True, waits=True)


def await_start(stage: Stage) -> BusWalk:
    """Wait for the first start after the move, or make it."""
    mark = stage.mark
    reason = f"step 4 of 5: the {mark.what} are on {mark.aim}; waits for the start of the guest"
    if stage.may_start:
        start = note_line("start", Effect.OFFLINE, reason)
        return BusWalk(_START, (start,), is_first=True, starts=True)
    if mark.started:
        again = (write_mark(stage, replace(mark, started=0)),)
        line = note_line("time", Effect.OFFLINE, "its next start has a whole limit")
        return BusWalk(again, (line,))
    line = note_line(f"{mark.what} on {mark.aim}", Effect.WITHHELD, reason)
    return BusWalk(changes=(line,), waits=True)


def begin_check(stage: Stage) -> BusWalk:
    """Note since when the guest has been running with what was moved."""
    mark, limit = stage.mark, show_span(stage.manifest.lifecycle.bus_change.timeout)
    doing = "runs" if stage.reading.is_running else say_state(stage.reading.view)
    reason = f"step 4 of 5: the guest {doing} on {mark.aim}; it has {limit} to show its {mark.what}"
    return BusWalk((RecordStart(),), (note_line("started", Effect.LIVE, reason),))


def await_shown(stage: Stage) -> BusWalk:
    """Wait for the guest to show what was moved."""
    mark, missing = stage.mark, find_missing(stage.mark, stage.reading, stage.proof)
    until = show_time(mark.started + stage.manifest.lifecycle.bus_change.timeout)
    reason = (
        f"step 4 of 5: waits since {show_time(mark.started)}, at the latest until {until}, for the "
        f"{mark.what} on {mark.aim}: {missing}; then the {mark.former} comes back"
    )
    line = note_line(f"{mark.what} on {mark.aim}", Effect.WITHHELD, reason)
    return BusWalk(changes=(line,), waits=True)


def finish(stage: Stage) -> BusWalk:
    """Remove the helpers, the drivers and the former controllers."""
    mark = stage.mark
    steps = (*list_detaches(stage), *clear_helper(stage, edits.drop_own(stage.xml, mark), None))
    done = f"step 5 of 5: the guest shows its {mark.what} on {mark.aim}"
    if not mark.switched:
        done = f"the {mark.what} are on {mark.aim} already"
    reason = f"{done}; the {mark.helpers} {mark.are} removed{say_left(stage)}"
    return BusWalk(steps, (note_line(None, stage.touch, reason, name_helpers(mark)),))
