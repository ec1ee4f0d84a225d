"""What a guest between on and off allows, and what brings it back. Pure.

A guest that is paused, crashed, suspended by itself or shutting down has a QEMU process, and
answers nobody. Why it is so decides: a person's pause is a person's, a job's pause is the job's.
"""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Callable, Collection, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.guest_states import find_command, find_state, store_command
from reconciler.core.images import Images
from reconciler.core.machine import Machine, Power
from reconciler.core.manifest import Lifecycle
from reconciler.core.plan import Effect
from reconciler.core.units import format_size
from reconciler.core.world import DomainView, GuestState, Reading, World
from reconciler.core.xmltree import parse
from reconciler.errors import TransientError
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.planning.guards import settle_boot_effect

# What libvirt does while a guest is paused for this reason (`virsh domstate --reason`).
JOBS: Mapping[str, str] = {
    "migrating": "migrates it",
    "post-copy": "migrates it",
    "saving": "saves it",
    "dumping": "dumps its memory",
    "creating snapshot": "takes a snapshot of it",
    "shutting down": "shuts it down",
    "starting up": "starts it",
}
IO_ERROR = "I/O error"
MIGRATED = "migrated"
# These run by libvirt alone, whatever the guest does.
HOST_ONLY = frozenset({"autostart"})
KEPT_WITH_SAVED = frozenset({"power", "autostart"})


def describe_job(job: str) -> str:
    """Return a job as the subject of a sentence: `a backup of the guest`."""
    if job == "long operation":
        return "another operation of libvirt on the guest"
    article = "an" if job[0] in "aeiou" else "a"
    return f"{article} {job}" if " of disk " in job else f"{article} {job} of the guest"


def find_wait(view: DomainView, fields: Collection[str]) -> str:
    """Return why nothing is changed until libvirt has done something, or an empty text.

    `fields` are those that differ; what passes by itself holds up nothing if nothing is to be done.
    """
    if not fields or not view.is_active:
        return ""
    if view.job:
        return f"{describe_job(view.job)} is under way; apply again when it is done"
    if view.state is GuestState.PAUSED and view.state_reason in JOBS:
        what = JOBS[view.state_reason]
        return f"the guest is paused while libvirt {what}; apply again when that is done"
    if view.state is GuestState.PAUSED and view.state_reason == "post-copy failed":
        return (
            "its migration failed half way (post-copy), and only the two hosts together have the "
            f"guest: virsh migrate {shlex.quote(view.name)} DESTINATION --live --postcopy "
            "--postcopy-resume, on the host where the migration began"
        )
    if view.state is GuestState.SHUTTING_DOWN and set(fields) - {"power"}:
        return "the guest is shutting down; apply again when it is off"
    return ""


def refuse_unstored(view: DomainView, *, may_store: bool, outcome: str = "changed") -> None:
    """Raise if libvirt stores no definition of a domain, and it is not to be stored by us.

    `outcome` is what is not done to it: changed, deleted. Raises TransientError, because whoever
    stores the definition needs to change nothing else.
    """
    if view.persistent:
        return
    wait = find_wait(view, ("definition",))
    if wait:  # a guest that comes by migration has no definition until it is here
        raise TransientError(wait)
    if not may_store:
        raise TransientError(
            "the domain is transient (libvirt stores no definition of it), so nothing of it is "
            f"{outcome}; store one: {store_command(view.name)}"
        )


def find_saved_hold(reading: Reading, fields: Collection[str], images: Images) -> str:
    """Return why a saved guest is not resumed, or nothing stored beside it, or an empty text."""
    view = reading.view
    if not view.saved or view.is_active or not fields:
        return ""
    if "power" in fields and view.saved_xml is not None:
        moved = _find_moved(view.saved_xml, reading.persistent, images)
        if moved:
            return (
                f"{moved}. To let the guest boot from its disks as they are, and lose what was in "
                f"its memory: virsh managedsave-remove {shlex.quote(view.name)}"
            )
    if not set(fields) - KEPT_WITH_SAVED:
        return ""
    return (
        "the guest has a saved state, and a start resumes it as it was saved, without this change. "
        f"Start it first (virsh start {shlex.quote(view.name)}), or discard the saved state and "
        f"what was in the guest's memory (virsh managedsave-remove {shlex.quote(view.name)})"
    )


def _find_moved(saved_xml: str, stored: Machine, images: Images) -> str:
    """Say which disk a saved guest would write to that is not the domain's any more.

    A saved state keeps the images of its time: resumed below a later snapshot, the guest writes to
    the image that the overlay is made over, and both are worth nothing then.
    """
    if not saved_xml:
        return "the guest's saved state cannot be read, so it is not known which disks it has"
    saved = {disk.target: disk.source for disk in read_machine(parse(saved_xml)).disks or ()}
    for disk in stored.disks or ():
        former = saved.get(disk.target, disk.source)
        if former != disk.source and not images.is_same(former, disk.source):
            return (
                f"the guest was saved with {disk.target} on {former or 'no image'}, and the "
                f"domain has {disk.source or 'no image'} now: if it is resumed, it continues to "
                "write to the former one"
            )
    return ""


@frozen
class Standing:
    """A guest as its plan finds it, and who plans.

    `power` is what the manifest wants; `unattended` says that no person sees the plan before it is
    carried out; `full` is what an I/O error still waits for, empty if it may be over.
    """

    view: DomainView
    lifecycle: Lifecycle
    now: Optional[datetime] = None
    power: Optional[Power] = None
    unattended: bool = False
    full: str = ""

    @property
    def is_between(self) -> bool:
        """Whether the guest is neither off nor does anything."""
        return self.view.state not in (GuestState.OFF, GuestState.RUNNING)

    @property
    def waits_for_space(self) -> bool:
        """Whether the guest is to run and cannot until there is space."""
        return self.is_between and self.power is Power.RUNNING and bool(self.full)


Settled = Tuple[Effect, str]


def settle_power(standing: Standing) -> Settled:
    """Return what becomes of `power` of a guest between on and off, and why."""
    if standing.power is Power.STOPPED:
        return _settle_stop(standing)
    return _BACK[find_state(standing.view)](standing)


_WENT = (
    "the guest was migrated to another host and may run there with the same disks: if it stays "
    "there, set placement.host in its manifest"
)


def refuse_migrated(name: str) -> str:
    """Say why a machine that is not here any more is not made again."""
    return f"{_WENT}; if it runs nowhere: virt-reconciler retry {shlex.quote(name)}"


def settle_start(standing: Standing) -> Optional[Settled]:
    """Return what becomes of the start of a guest whose memory is elsewhere; None if it is not."""
    view, name = standing.view, shlex.quote(standing.view.name)
    if view.state_reason == MIGRATED:
        return Effect.WITHHELD, f"{_WENT}; if it runs nowhere: virsh start {name}"
    if view.state_reason != "saved" or view.saved:
        return None
    if standing.unattended:
        return Effect.WITHHELD, (
            "the guest's memory was saved to a file (virsh save), which fits its disks only until "
            f"it starts: virsh restore FILE, or virsh start {name}"
        )
    return Effect.OFFLINE, (
        "the guest boots; its memory that was saved to a file (virsh save) is of no use then"
    )


def is_brought_back(standing: Standing) -> bool:
    """Whether this plan lets the guest go on before it does anything else."""
    return standing.power is Power.RUNNING and settle_power(standing)[0] is Effect.LIVE


def settle_live(standing: Standing, field: str, *, needs_guest: bool) -> Optional[Settled]:
    """Return what becomes of a live change that this guest does not allow; None if it does.

    `needs_guest` says that the guest must have a part in it.
    """
    if field in HOST_ONLY or is_brought_back(standing):
        return None
    if find_state(standing.view) is GuestState.PAUSED and not needs_guest:
        return None
    if field != "disks[].size" and standing.power is not None:
        effect, reason = settle_power(standing)
        if effect is Effect.RESTART:  # what is stored now is in effect then
            return (effect if standing.power is Power.RUNNING else Effect.NEXT_BOOT), reason
    return (
        Effect.WITHHELD,
        f"the guest {say_state(standing.view)} and does not take part in it: "
        f"{find_command(standing.view)}",
    )


def settle_boot(standing: Standing) -> Settled:
    """Return what becomes of a change that needs a cold start, in such a guest."""
    effect, reason = settle_boot_effect(standing.lifecycle, standing.now)
    if effect is not Effect.RESTART or is_brought_back(standing):
        return effect, reason
    if standing.power is Power.RUNNING and settle_power(standing)[0] is Effect.RESTART:
        return effect, reason
    return (
        Effect.NEXT_BOOT,
        f"the guest {say_state(standing.view)}, and is not restarted until then",
    )


def refuse_to_ask(view: DomainView) -> str:
    """Say that a guest cannot be asked to shut down, and what to do."""
    return f"{say_deaf(view)}: {find_command(view)}, or set lifecycle.forceOff: true"


def say_deaf(view: DomainView) -> str:
    """Say that a guest cannot be asked to shut down."""
    return f"the guest {say_state(view)} and cannot be asked to shut down"


def is_deaf(view: DomainView) -> bool:
    """Whether the guest cannot hear a power button until somebody does something."""
    return view.state in (GuestState.PAUSED, GuestState.CRASHED)


def _settle_stop(standing: Standing) -> Settled:
    view, lifecycle = standing.view, standing.lifecycle
    effect, reason = settle_boot_effect(lifecycle, standing.now)
    if effect is Effect.WITHHELD:
        return effect, reason
    if view.state is GuestState.SHUTTING_DOWN:
        return Effect.RESTART, "the guest is shutting down already; waited for"
    if view.state is GuestState.PMSUSPENDED:
        return Effect.RESTART, "the guest is woken up and asked to shut down"
    if not lifecycle.force_off:
        return Effect.WITHHELD, refuse_to_ask(view)
    return Effect.RESTART, f"the guest {say_state(view)}: powered off hard (lifecycle.forceOff)"


def _resume(standing: Standing) -> Settled:
    view = standing.view
    if view.state_reason == IO_ERROR:
        return _resume_after_error(standing)
    if view.state_reason == "watchdog":
        return Effect.WITHHELD, (
            "the guest's watchdog paused it, so it hangs: see its console, then virsh reset "
            f"{shlex.quote(view.name)} and virsh resume {shlex.quote(view.name)}"
        )
    why = _PAUSED.get(view.state_reason, "paused, and libvirt does not know why")
    if standing.unattended:
        return Effect.WITHHELD, (
            f"{why}; the daemon does not resume it: virsh resume {shlex.quote(view.name)}, or "
            "virt-reconciler apply"
        )
    return Effect.LIVE, f"{why}; the guest is resumed"


_PAUSED: Mapping[str, str] = {
    "user": "paused by a person",
    "from snapshot": "paused since it went back to a snapshot",
    "api error": "paused since a call to libvirt failed",
}


def _resume_after_error(standing: Standing) -> Settled:
    if standing.full:
        return Effect.WITHHELD, standing.full
    disks = ", ".join(f"{key}: {error}" for key, error in sorted(standing.view.disk_errors.items()))
    return Effect.LIVE, f"paused by an I/O error{f' ({disks})' if disks else ''}; tried again"


def _wake(standing: Standing) -> Settled:  # noqa: ARG001 - the table's shape
    return Effect.LIVE, "the guest suspended itself; it is woken up"


def _restart_crashed(standing: Standing) -> Settled:
    view, lifecycle = standing.view, standing.lifecycle
    effect, reason = settle_boot_effect(lifecycle, standing.now)
    if effect is Effect.RESTART and lifecycle.force_off:
        return effect, "the guest has crashed: powered off hard and started again"
    needed = [
        text
        for text, lacks in (
            ("lifecycle.disruption: restart", effect is not Effect.RESTART),
            ("lifecycle.forceOff: true", not lifecycle.force_off),
        )
        if lacks
    ]
    wait = f" ({reason})" if reason and effect is Effect.NEXT_BOOT else ""
    return Effect.WITHHELD, (
        f"the guest has crashed, and is kept for inspection{wait}: virsh destroy "
        f"{shlex.quote(view.name)}, then apply starts it; or set {' and '.join(needed)}"
    )


def _wait(standing: Standing) -> Settled:  # noqa: ARG001 - the table's shape
    return Effect.WITHHELD, "the guest is shutting down; apply again when it is off"


_BACK: Mapping[GuestState, Callable[[Standing], Settled]] = {
    GuestState.PAUSED: _resume,
    GuestState.PMSUSPENDED: _wake,
    GuestState.CRASHED: _restart_crashed,
    GuestState.SHUTTING_DOWN: _wait,
}


_SAID: Mapping[GuestState, str] = {
    GuestState.PAUSED: "is paused",
    GuestState.CRASHED: "has crashed",
    GuestState.PMSUSPENDED: "is suspended by itself",
    GuestState.SHUTTING_DOWN: "is shutting down",
}


def say_state(view: DomainView) -> str:
    """Return the state of a guest between on and off: `is paused`, `has crashed`."""
    return _SAID[find_state(view)]


NEEDED = 2**20  # bytes; a guest that an I/O error paused asks for less at once


def find_full(reading: Reading, world: World) -> str:
    """Say which disk of a guest that an I/O error paused has no space still."""
    targets = [key for key, error in reading.view.disk_errors.items() if error == "no space"]
    for disk in (reading.live and reading.live.disks) or ():
        free = world.find_free(disk.source or "") if disk.target in targets else None
        if free is not None and free < NEEDED:
            return (
                f"paused by an I/O error: no space for {disk.target} ({disk.source}), "
                f"{format_size(free)} free; free some space, and the guest is resumed"
            )
    return ""
