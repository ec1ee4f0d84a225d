"""How a staged bus change ends before its end: given up, or back on the former bus. Pure."""

from __future__ import annotations

import shlex
from typing import Optional, Tuple

from reconciler.core.faults import Fact, Section
from reconciler.core.frozen import replace
from reconciler.core.machine import Disruption, Power
from reconciler.core.names import BusChangeMark
from reconciler.core.plan import Change, Effect, SetMetadata, Shutdown, Start
from reconciler.core.units import show_span, show_time
from reconciler.kinds.machine.domain import bus_change as edits
from reconciler.kinds.machine.domain.mark import owner_xml
from reconciler.kinds.machine.planning.bus_change import describe_hold, find_missing
from reconciler.kinds.machine.planning.bus_change_stage import (
    BusWalk,
    Stage,
    Steps,
    clear_helper,
    end_mark,
    list_detaches,
    name_helpers,
    note_line,
    say_left,
    write_mark,
)
from reconciler.kinds.machine.planning.states import find_wait, is_deaf

ABORTED = "ended by a person (apply --abort-bus-change)"
NOT_WANTED = "the manifest does not ask for it any more"


def give_up(stage: Stage) -> BusWalk:
    """Remove the helpers before anything was moved."""
    mark = stage.mark
    why = mark.failed or (ABORTED if stage.walk.aborts else NOT_WANTED)
    if _holds_helper(stage):
        return _await_end(stage, why)
    after = None
    if why != NOT_WANTED:
        after = replace(mark, failed=why, path="", mac="", proved=0, resumes=False)
        after = replace(after, generation=stage.manifest.generation)
    steps = (*list_detaches(stage), *clear_helper(stage, edits.drop_own(stage.xml, mark), after))
    reason = f"{why}: the {mark.helpers} {mark.are} removed, and the {mark.what} stay as they are"
    line = note_line(None, stage.touch, reason + say_left(stage), name_helpers(mark))
    return BusWalk(steps, (line,), f"the bus change ends: {why}", is_first=stage.walk.aborts)


def _holds_helper(stage: Stage) -> bool:
    """Whether a guest that is neither off nor running has a helper, and cannot give it."""
    view = stage.reading.view
    own = [edits.find_own(view.saved_xml, name) for name in stage.mark.own]
    is_saved_with = view.saved_xml == "" or any(helper is not None for helper in own)
    return stage.walk.is_between and (stage.walk.has_plug or is_saved_with)


def _await_end(stage: Stage, why: str) -> BusWalk:
    """Remember that a person has ended it, and wait until the helpers can go."""
    mark = stage.mark
    reason = (
        f"{why}; the {mark.helpers} {mark.are} removed later: {describe_hold(stage.reading.view)}"
    )
    line = note_line(None, Effect.WITHHELD, reason, name_helpers(mark))
    return _remember(stage, replace(mark, failed="" if why == NOT_WANTED else why), line)


def _remember(stage: Stage, mark: BusChangeMark, line: Change) -> BusWalk:
    """Write why the change ends, so that it does when the guest allows it, whatever comes first."""
    if mark == stage.mark:
        return BusWalk(changes=(line,), reason=line.reason, waits=True)
    steps = (write_mark(stage, mark),)
    return BusWalk(steps, (line,), line.reason, is_first=True, is_before=True, waits=True)


def go_back(stage: Stage) -> BusWalk:
    """Bring the former definition back, and start the guest on it."""
    mark, active = stage.mark, stage.reading.is_active
    why = mark.failed or _explain_return(stage)
    effect, policy = _may_go_back(stage)
    reason = f"{why}; the {mark.former} comes back"
    left = "" if effect is Effect.WITHHELD else say_left(stage)
    line = note_line(mark.former, effect, f"{reason}{policy}{left}", mark.aim)
    if effect is Effect.WITHHELD:
        failed = mark.failed or (ABORTED if stage.walk.aborts else "")
        is_late = stage.walk.is_wanted and not failed
        return _remember(stage, replace(mark, failed=failed, overdue=why if is_late else ""), line)
    xml = edits.drop_own(edits.revert_bus(stage.xml, mark))
    starts = stage.may_start or (active and stage.manifest.machine.power is not Power.STOPPED)
    after: Optional[BusChangeMark] = None
    if stage.walk.is_wanted or stage.walk.aborts:
        after = replace(
            mark, failed=why, overdue="", switched=0, started=0, proved=0, path="", mac="",
            resumes=starts,
            generation=stage.manifest.generation,
        )  # fmt: skip
    steps = clear_helper(stage, xml, after, *((Start(),) if starts else ()))
    if active:
        lifecycle = stage.manifest.lifecycle
        stop = Shutdown(lifecycle.shutdown_timeout, lifecycle.force_off, mark.targets)
        begun = replace(mark, failed=why, resumes=starts, generation=stage.manifest.generation)
        steps = (write_mark(stage, begun), stop, *steps)
    return BusWalk(steps, (line,), reason, is_first=True, starts=starts)


def _explain_return(stage: Stage) -> str:
    if stage.walk.aborts:
        return ABORTED
    if not stage.walk.is_wanted:
        return NOT_WANTED
    if stage.mark.overdue:
        return stage.mark.overdue
    mark, limit = stage.mark, show_span(stage.manifest.lifecycle.bus_change.timeout)
    missing = find_missing(mark, stage.reading, stage.proof)
    return f"in {limit} since its start on {mark.aim} at {show_time(mark.started)}: {missing}"


def _may_go_back(stage: Stage) -> Tuple[Effect, str]:
    """Return the effect of going back, and why a running guest is restarted for it, or not."""
    if stage.walk.is_off:
        return Effect.OFFLINE, ""
    hold = _find_hold(stage)
    if hold:
        return Effect.WITHHELD, f" later: {hold}"
    if stage.walk.aborts or stage.mark.failed == ABORTED:
        return Effect.RESTART, ", as a person asked"
    if stage.effect is Effect.RESTART:
        return Effect.RESTART, f" ({stage.policy})"
    if stage.proof.written == 0:
        return Effect.RESTART, ": the guest has written nothing to these disks since its start"
    return Effect.WITHHELD, _say_when(stage)


def _say_when(stage: Stage) -> str:
    """Say when a guest goes back that is not restarted for it now, and why it is not."""
    when, disruption = " when the guest is off", stage.manifest.lifecycle.disruption
    if disruption is Disruption.WINDOW:
        when += f", or restarted in the next maintenance window{stage.window}"
    why = "it has written to these disks since its start" if stage.mark.bus else "it runs"
    return f"{when}: {why}, so it is not restarted now (lifecycle.disruption is {disruption.value})"


def _find_hold(stage: Stage) -> str:
    """Say why a guest that is not off cannot be turned off; empty if it can."""
    view = stage.reading.view
    if not view.is_active:
        return describe_hold(view)
    stage.world.ask(Fact(Section.JOB, view.name))
    is_cut_off = stage.manifest.lifecycle.force_off or stage.proof.written == 0
    held = "" if is_cut_off or not is_deaf(view) else describe_hold(view)
    return find_wait(view, ("disks[].bus",)) or held


def resume(stage: Stage) -> BusWalk:
    """Start a guest that was shut down for the change, should the way back have been cut."""
    start: Steps = (Start(),) if stage.may_start and stage.walk.is_off else ()
    steps = (*start, write_mark(stage, replace(stage.mark, resumes=False)))
    reason = (
        f"the guest was shut down for the bus change, and runs again on its {stage.mark.former}"
    )
    line = note_line("start", Effect.OFFLINE if start else stage.touch, reason)
    return BusWalk(steps, (line,), f"the bus change ended: {stage.mark.failed}", is_first=True)


def fail(stage: Stage) -> BusWalk:
    """Say how it ended, and what starts another try."""
    name = shlex.quote(stage.manifest.name)
    reason = (
        f"the staged bus change to {stage.mark.aim} ended: {stage.mark.failed}. To try again: "
        f"virt-reconciler retry {name}, or change its manifest"
    )
    return BusWalk(reason=reason, stalled=reason)


def forget(stage: Stage) -> BusWalk:
    """Forget how it ended, as the manifest asks for no change any more."""
    owner = end_mark(stage, None)
    line = note_line(None, stage.touch, NOT_WANTED, f"ended: {stage.mark.failed}")
    return BusWalk((SetMetadata(owner_xml(owner), live=stage.reading.is_active),), (line,))
