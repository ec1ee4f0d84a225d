"""What a plan must not do to a machine, and who may: ownership, marks, other hands."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Callable, FrozenSet, Iterable, Mapping, Optional, Tuple

from reconciler.core import guests
from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import (
    Cdrom,
    Cpus,
    Disk,
    Disruption,
    Interface,
    Machine,
    Memory,
    Overlay,
    Power,
    chipset_of,
)
from reconciler.core.manifest import Lifecycle, MachineManifest, Window
from reconciler.core.names import MARK_NAMESPACE, Owner, SeedMark
from reconciler.core.plan import Change, Effect
from reconciler.core.secret_refs import SealedSecret, SecretRef, find_refs
from reconciler.core.secret_text import HIDDEN
from reconciler.core.secrets import hide_spec
from reconciler.core.world import Reading, Unknown, World
from reconciler.errors import TerminalError
from reconciler.kinds.machine.match import Difference


def owner_of(
    manifest: MachineManifest,
    creating: Tuple[str, ...] = (),
    made: Tuple[str, ...] = (),
    formerly: Tuple[str, ...] = (),
    seed: Optional[SeedMark] = None,
    secrets: Tuple[Tuple[str, str], ...] = (),
) -> Owner:
    """Return the mark.

    `creating` are paths of volumes that are not complete yet, `made` of all that were ever made,
    `formerly` the names that the machine had before, `seed` what it was given for its first boot,
    `secrets` the digests of those it names.
    """
    return Owner(
        manifest.name,
        manifest.generation,
        manifest.spec,
        manifest.machine.os,
        creating,
        manifest.revision,
        made,
        formerly=formerly,
        seed=seed,
        secrets=secrets,
    )


def seal_secrets(machine: Machine, world: World) -> Tuple[Tuple[str, str], ...]:
    """Return the digests of the secrets that a machine names, for its mark: those that last."""
    found = ((ref, world.find_secret(ref)) for ref in list_refs(machine))
    return tuple(
        (str(ref), secret.digest.hex())
        for ref, secret in found
        if isinstance(secret, SealedSecret) and secret.is_lasting
    )


def explain_secret(difference: Difference, owner: Optional[Owner], world: World) -> str:
    """Return whose doing it is that a secret differs, as far as the mark tells; else empty."""
    former = dict(owner.secrets) if owner is not None else {}
    for ref in find_refs(str(difference.desired)):
        secret = world.find_secret(ref)
        if str(ref) in former and isinstance(secret, SealedSecret) and secret.is_lasting:
            is_same = former[str(ref)] == secret.digest.hex()
            return "someone changed it in the domain" if is_same else "the secret was changed"
    return ""


def describe_cleaning(reading: Reading) -> Tuple[Change, ...]:
    """Say that secrets are removed from the mark, where an earlier version stored them."""
    owner = reading.owner
    if owner is None or clean_owner(owner) == owner:
        return ()
    effect = Effect.LIVE if reading.is_active else Effect.OFFLINE
    reason = "an earlier version stored a password in the domain's metadata; it is removed there"
    return (
        Change(path="metadata.spec", observed=HIDDEN, desired=None, effect=effect, reason=reason),
    )


def find_unreadable(differences: Iterable[Difference], world: World) -> Mapping[str, str]:
    """Return why single paths are not changed: the secrets that they need cannot be read."""
    found = {}
    for difference in differences:
        for ref in find_refs(str(difference.desired)):
            secret = world.find_secret(ref)
            if isinstance(secret, Unknown):
                found[difference.path] = f"the secret cannot be read: {secret.reason}"
    return found


def find_readable(machine: Machine, world: World) -> Tuple[Overlay, ...]:
    """Return the overlays of which every secret can be read; the others wait as a whole."""

    def is_readable(overlay: Overlay) -> bool:
        found = map(world.find_secret, find_refs(overlay.fragment))
        return not any(isinstance(secret, Unknown) for secret in found)

    return tuple(filter(is_readable, machine.overlays))


def find_uncompared(machine: Machine, world: World) -> Tuple[str, ...]:
    """Return a note for each secret of a machine that this user or this host cannot read."""
    found = ((ref, world.find_secret(ref)) for ref in list_refs(machine))
    return tuple(
        f"secret not compared: {secret.reason}"
        for _, secret in found
        if isinstance(secret, Unknown)
    )


def list_refs(machine: Machine) -> Tuple[SecretRef, ...]:
    """Return the secrets that a machine names, each once."""
    password = machine.graphics_password
    refs = [password] if isinstance(password, SecretRef) else []
    refs += [ref for overlay in machine.overlays for ref in find_refs(overlay.fragment)]
    return tuple(dict.fromkeys(refs))


def begin_owner(
    manifest: MachineManifest,
    made: Tuple[str, ...] = (),
    formerly: Tuple[str, ...] = (),
    seed: Optional[SeedMark] = None,
) -> Owner:
    """Return the mark of a domain that is taken over, of whose manifest not all is applied yet.

    It says whose the domain is, and no spec: nothing is drift from what was never applied, and
    nothing is deleted by it.
    """
    return Owner(manifest.name, "", os=manifest.machine.os, made=made, formerly=formerly, seed=seed)


def unfinished_owner(
    manifest: MachineManifest,
    creating: Iterable[str],
    made: Tuple[str, ...],
    seed: Optional[SeedMark] = None,
) -> Owner:
    """Return the mark of a machine that is being created, whose disks are not complete yet."""
    mark = begin_owner(manifest, made, seed=seed)
    return replace(mark, creating=tuple(creating), is_unfinished=True)


def clean_owner(former: Owner) -> Owner:
    """Return the mark without the secrets that an earlier version stored in it."""
    return replace(former, spec=hide_spec(former.spec))


def finish_owner(former: Owner, made: Tuple[str, ...], seed: Optional[SeedMark]) -> Owner:
    """Return the mark when no volume is left to be made, whatever else is still to be applied."""
    return replace(former, creating=(), made=made, worker=None, is_unfinished=False, seed=seed)


def made_with(former: Optional[Owner], name: str, new: Iterable[str]) -> Tuple[str, ...]:
    """Return the volumes made so far for the machine, and the new ones.

    What the mark of another machine says, on a copy made by hand, is not this one's.
    """
    before = former.made if former is not None and former.name == name else ()
    return tuple(sorted({*before, *new}))


def inherit_mark(reading: Reading, world: World) -> Optional[Owner]:
    """Return what the mark of a former name tells of a domain; None of a copy, or without a mark.

    Raises TerminalError where the machine was renamed before it was complete.
    """
    name, owner = reading.view.name, reading.owner
    if owner is None or not _is_renamed(owner, name, world):
        return None
    is_moving = owner.bus_change is not None and not owner.bus_change.is_over
    if owner.creating or owner.is_unfinished or is_moving:
        what = "its bus change was over" if is_moving else "its volumes were complete"
        raise TerminalError(
            f"it has the mark of {owner.name} and was renamed before {what}; rename it back (virsh "
            f"domrename {shlex.quote(name)} {shlex.quote(owner.name)}) and apply {owner.name} first"
        )
    return replace(owner, name=name, formerly=owner.names)


def _is_renamed(owner: Owner, name: str, world: World) -> bool:
    """Whether the domain of that name is the machine of the mark, by another name."""
    is_there = bool(world.find_holders("machine", owner.name))
    return not is_there and name in world.find_holders("mark", owner.name)


def refuse_renamed(name: str, world: World) -> None:
    """Raise TerminalError if a machine that is not there exists by another name."""
    renamed = world.find_holders("mark", name)
    if not renamed:
        return
    new, old = shlex.quote(renamed[0]), shlex.quote(name)
    raise TerminalError(
        f"domain {', '.join(renamed)} has the mark of {name}: it was renamed, so no second one "
        f"is created. Rename it back: virsh domrename {new} {old}. Or rename the manifest to "
        f"{renamed[0]} and run: virt-reconciler adopt {new} -f MANIFESTS. If it is a copy, "
        f"remove the mark: virsh metadata {new} --uri {MARK_NAMESPACE} --config --remove"
    )


_DAY = 24 * 60
_WEEK = 7 * _DAY


def settle_boot_effect(lifecycle: Lifecycle, now: Optional[datetime]) -> Tuple[Effect, str]:
    """Return what becomes of a change that needs a cold start, and why.

    `now` is the host's local time; without it no window is open.
    """
    if lifecycle.disruption is Disruption.NEVER:
        return Effect.WITHHELD, "lifecycle.disruption is never; it is done when the machine is off"
    if lifecycle.disruption is Disruption.RESTART:
        return Effect.RESTART, "lifecycle.disruption allows the restart"
    if lifecycle.disruption is Disruption.WINDOW:
        if now is not None and is_open(lifecycle.windows, now):
            return Effect.RESTART, "a maintenance window is open"
        return Effect.NEXT_BOOT, "restarted in the next maintenance window"
    return Effect.NEXT_BOOT, ""


def is_open(windows: Tuple[Window, ...], now: datetime) -> bool:
    """Whether one of the weekly windows holds at that time."""
    minute = now.weekday() * _DAY + now.hour * 60 + now.minute
    return any(
        (minute - (day * _DAY + window.start)) % _WEEK < window.duration
        for window in windows
        for day in window.days
    )


# libvirt hot-plugs and hot-unplugs disks on these buses only
# (qemuDomainAttachDeviceDiskLiveInternal, qemuDomainDetachPrepDisk).
HOTPLUG_BUSES = frozenset({"virtio", "scsi", "usb"})


@frozen
class Guest:
    """What a row may look at: the machine as it runs (or is stored, when off), and its OS.

    `stored` is the definition for the next start, where it is not `observed` itself. `cramped` are
    the paths of new devices for which the running machine has no PCI slot, `moved` the names of the
    disks that are to have another image. `staged` says that disks change their bus step by step.
    """

    observed: Machine
    os: Optional[str] = None
    stored: Optional[Machine] = None
    cramped: FrozenSet[str] = frozenset()
    moved: FrozenSet[str] = frozenset()
    staged: Optional[bool] = None


STAGED_BUSES = frozenset({"virtio", "scsi"})  # whose drivers a system may lack
Guard = Callable[[Difference, Guest], bool]


def always(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001 - a Guard's shape
    """Fit without a condition."""
    return True


def may_lack_driver(difference: Difference, guest: Guest) -> bool:
    """Whether the guest is not to be moved at once: a Windows, or what else is moved in steps."""
    is_windows, is_disk = guests.may_be_windows(guest.os), difference.field == "disks[].bus"
    needs_one = is_disk and (is_windows or difference.desired in STAGED_BUSES)
    is_staged = is_windows if guest.staged is None else guest.staged
    return is_staged and (needs_one or difference.needs_card_driver)


def on_hotplug_bus(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the device sits on a bus that can be plugged while the guest runs."""
    item = difference.item
    if item is None or isinstance(item, Interface):
        return False
    # A new disk of which nobody said a bus will be on virtio.
    return item.bus in HOTPLUG_BUSES or (item.bus is None and isinstance(item, Disk))


def has_no_slot(difference: Difference, guest: Guest) -> bool:
    """Whether the running machine has no PCI slot left for the device."""
    return difference.path in guest.cramped


def can_plug_drive(difference: Difference, guest: Guest) -> bool:
    """Whether a CD-ROM drive can be plugged in: libvirt 9.0 cannot do so without a medium."""
    item = difference.item
    return on_hotplug_bus(difference, guest) and isinstance(item, Cdrom) and bool(item.media)


def shrinks(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001 - a Guard's shape
    """Whether the wanted size is below the present one."""
    return int(difference.desired or 0) < int(difference.observed or 0)


def gets_another_image(difference: Difference, guest: Guest) -> bool:
    """Whether the disk is to have another image than it has now."""
    return difference.device in guest.moved


def is_unread(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001 - a Guard's shape
    """Whether the present value could not be read."""
    return difference.observed is None


def wants_running(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the machine is off and should run."""
    return difference.desired == Power.RUNNING.value


def is_saved(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the machine has a saved state and should run."""
    return _goes_on(difference, Power.SAVED)


def is_paused(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the guest is paused and should run."""
    return _goes_on(difference, Power.PAUSED)


def is_asleep(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the guest suspended itself and should run."""
    return _goes_on(difference, Power.PMSUSPENDED)


def has_crashed(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the guest has crashed, is kept, and should run."""
    return _goes_on(difference, Power.CRASHED)


def is_shutting_down(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the guest is shutting down and should run."""
    return _goes_on(difference, Power.SHUTTING_DOWN)


def _goes_on(difference: Difference, observed: Power) -> bool:
    return (difference.observed, difference.desired) == (observed.value, Power.RUNNING.value)


def has_password(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the display has a password already, so that QEMU takes another one."""
    return difference.observed is not None


def changes_chipset(difference: Difference, guest: Guest) -> bool:  # noqa: ARG001
    """Whether the machine type goes from one chipset to another."""
    return chipset_of(str(difference.desired)) != chipset_of(str(difference.observed))


def can_plug_cpus(difference: Difference, guest: Guest) -> bool:
    """Whether more processors fit below the running maximum."""
    cpus = guest.observed.cpus or Cpus()
    return (cpus.count or 0) < int(difference.desired or 0) <= (cpus.maximum or 0)


def above_cpu_maximum(difference: Difference, guest: Guest) -> bool:
    """Whether the wanted count is above what the running guest was started with."""
    return int(difference.desired or 0) > ((guest.observed.cpus or Cpus()).maximum or 0)


def can_unplug_cpus(difference: Difference, guest: Guest) -> bool:
    """Whether enough of the online processors were plugged in after the start."""
    cpus = guest.observed.cpus or Cpus()
    return (
        (cpus.count or 0) - (cpus.unpluggable or 0)
        <= int(difference.desired or 0)
        < (cpus.count or 0)
    )


def can_balloon(difference: Difference, guest: Guest) -> bool:
    """Whether the wanted size is within the running maximum and the guest has a balloon."""
    memory = guest.observed.memory or Memory()
    return bool(memory.balloon) and int(difference.desired or 0) <= (memory.maximum or 0)


def is_not_deflated(difference: Difference, guest: Guest) -> bool:
    """Whether the balloon was told already, and a guest without its driver has not followed.

    Such a guest has all of its maximum; QEMU does not tell what the balloon was told.
    """
    stored = (guest.stored and guest.stored.memory) or Memory()
    memory = guest.observed.memory or Memory()
    told = stored.size == difference.desired
    return told and difference.observed == memory.maximum != difference.desired
