"""The conditions of an owned machine, from live state and its last applied spec alone. Pure."""

from __future__ import annotations

import json
import shlex
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple, Union

from reconciler.core.conditions import Condition, Status
from reconciler.core.frozen import frozen, replace
from reconciler.core.guest_states import describe_state, find_command, store_command
from reconciler.core.images import DEFAULT_POOL
from reconciler.core.machine import Machine
from reconciler.core.manifest import Lifecycle
from reconciler.core.names import BusChangeMark, Owner
from reconciler.core.units import parse_duration, show_time
from reconciler.core.world import Reading, Unknown
from reconciler.kinds.machine.document import build_lifecycle
from reconciler.kinds.machine.domain.features import settle_firmware
from reconciler.kinds.machine.domain.mark import describe_installation
from reconciler.kinds.machine.match import RESOLVED_AT_START, align, as_defined, compare


def pending_paths(reading: Reading) -> Tuple[str, ...]:
    """Return the fields in which the running guest differs from its stored definition."""
    if reading.live is None:
        return ()
    stored = _comparable(reading.persistent)
    live = as_defined(align(stored, reading.live), reading.persistent)
    live = settle_firmware(stored.firmware, live)
    return tuple(difference.path for difference in compare(stored, live))


def _comparable(stored: Machine) -> Machine:
    cpus = stored.cpus
    if cpus is not None and cpus.mode in RESOLVED_AT_START:
        cpus = replace(cpus, mode=None, model=None)
    return replace(stored, cpus=cpus, power=None, autostart=None)


ORPHAN, UNDEFINE, DELETE_DISKS = "orphan", "undefine", "deleteDisks"
_PLAIN = Lifecycle()


@frozen
class AppliedDisk:
    """A disk that the spec gives the machine, in which pool, and how it came to be.

    `is_made`: the spec names no image that was there, so that its volume was made for the machine.
    """

    name: str
    pool: str
    is_made: bool


@frozen
class Applied:
    """`deletion` is the word of the spec; `shutdown_timeout` seconds."""

    deletion: str = ORPHAN
    shutdown_timeout: int = _PLAIN.shutdown_timeout
    force_off: bool = False
    disks: Tuple[AppliedDisk, ...] = ()


def read_applied(owner: Owner) -> Applied:
    """Return what the mark's spec says; what it does not say has its default."""
    try:
        spec = json.loads(owner.spec)
        lifecycle = spec.get("lifecycle", {})
        deletion = lifecycle.get("deletion", ORPHAN)
        return Applied(
            deletion if deletion in (UNDEFINE, DELETE_DISKS) else ORPHAN,
            parse_duration(lifecycle.get("shutdownTimeout", f"{_PLAIN.shutdown_timeout}s")),
            lifecycle.get("forceOff") is True,
            tuple(_read_disk(disk) for disk in spec.get("disks") or ()),
        )
    except (ValueError, TypeError, AttributeError, KeyError):
        return Applied()


def read_lifecycle(owner: Optional[Owner]) -> Lifecycle:
    """Return the lifecycle of the mark's spec; the default where there is none to be had."""
    try:
        return build_lifecycle(json.loads(owner.spec).get("lifecycle", {}) if owner else {})
    except (ValueError, TypeError, AttributeError, KeyError):
        return _PLAIN


def _read_disk(data: Dict[str, Any]) -> AppliedDisk:
    source = data.get("source", {})
    return AppliedDisk(
        data["name"],
        data.get("pool", DEFAULT_POOL),
        "path" not in source and "volume" not in source,
    )


ADOPTED_IN_PART = (
    "adopted, and its manifest is not applied in full yet; what is left: virt-reconciler plan "
    "MANIFESTS"
)


def is_owned(reading: Union[Reading, Unknown]) -> bool:
    """Whether the domain carries our mark, made for itself and not for what it was copied from."""
    if isinstance(reading, Unknown) or reading.owner is None:
        return False
    return reading.owner.name == reading.view.name


def is_unfinished(reading: Union[Reading, Unknown]) -> bool:
    """Whether the domain is what an interrupted creation left, and nobody has started it."""
    if isinstance(reading, Unknown) or reading.owner is None or reading.is_active:
        return False
    return is_owned(reading) and reading.owner.is_unfinished and not reading.view.saved


def find_former_name(reading: Union[Reading, Unknown]) -> Optional[str]:
    """Return whose mark a domain of another name bears; None of what is certainly a copy.

    It was renamed if that machine is not there any more. A copy has other disks.
    """
    if isinstance(reading, Unknown) or reading.owner is None or is_owned(reading):
        return None
    made, disks = reading.owner.made, reading.persistent.disks or ()
    is_copy = made and all(disk.source not in made for disk in disks)
    return None if is_copy else reading.owner.name


def find_renamed(readings: Mapping[str, Union[Reading, Unknown]]) -> Mapping[str, str]:
    """Return name → former name of the machines that were renamed, given all domains."""
    former = {name: find_former_name(reading) for name, reading in readings.items()}
    return {name: old for name, old in former.items() if old and not has_own_mark(readings, old)}


def has_own_mark(readings: Mapping[str, Union[Reading, Unknown]], name: str) -> bool:
    """Whether a machine is there by its own name; a domain made by somebody else is another."""
    reading = readings.get(name)
    return reading is not None and (isinstance(reading, Unknown) or is_owned(reading))


def find_status(
    name: str,
    reading: Union[Reading, Unknown],
    former_name: Optional[str] = None,
    *,
    is_taken: bool = False,
) -> Status:
    """Return the machine's conditions.

    `former_name` is set of one that was renamed; `is_taken` says that another domain has that name.
    """
    if isinstance(reading, Unknown):
        return Status(name, "unknown", (Condition("Ready", holds=None, reason=reading.reason),))
    state, guest = reading.view.state.value, describe_state(reading.view)
    if reading.owner is None or not is_owned(reading):
        why = "not managed"
        if former_name is not None:
            new, old = shlex.quote(name), shlex.quote(former_name)
            back = f": virsh domrename {new} {old}, or"
            if is_taken:
                back = ", and another domain has that name now:"
            why = (
                f"has the mark of {former_name}, so it was renamed{back} rename the manifest and "
                f"run: virt-reconciler adopt {new} -f MANIFESTS"
            )
        return Status(name, state, (Condition("Ready", holds=None, reason=why),), guest=guest)
    conditions = (
        _ready(reading, reading.owner),
        _reconciling(reading.owner),
        _restart_required(reading),
    )
    return Status(
        name=name,
        state=state,
        conditions=conditions,
        generation=reading.owner.generation or None,
        guest=guest,
    )


def _ready(reading: Reading, owner: Owner) -> Condition:
    if owner.creating or owner.is_unfinished or owner.bus_change is not None:
        why = "its disks are not complete" if owner.creating or owner.is_unfinished else ""
        return Condition("Ready", holds=False, reason=why or _describe_move(owner.bus_change))
    view, wanted = reading.view, _wanted_power(owner)
    if not view.persistent:
        why = f"the domain is transient; store it: {store_command(view.name)}"
        return Condition("Ready", holds=False, reason=why)
    if not owner.generation:  # the mark of an adoption that withheld something
        return Condition("Ready", holds=False, reason=ADOPTED_IN_PART)
    if wanted == "running" and not reading.is_running:
        help_ = f": {find_command(view)}" if view.is_active else ""
        why = f"should be running and is {describe_state(view)}{help_}"
        return Condition("Ready", holds=False, reason=why)
    if wanted == "stopped" and reading.is_active:
        why = f"should be stopped and is {describe_state(view)}"
        return Condition("Ready", holds=False, reason=why)
    seed = owner.seed
    rest = f"{seed.field}: the seed is removed when the first boot is over" if seed else ""
    reasons = (reading.snapshots, rest if seed and seed.is_attached else "")
    return Condition("Ready", holds=True, reason="; ".join(filter(None, reasons)))


def _describe_move(mark: Optional[BusChangeMark]) -> str:
    """Say how far a staged bus change is, as the mark alone tells."""
    if mark is None:
        return ""
    if mark.failed:
        ends = "ended" if mark.is_over else "ends when its guest allows it"
        return f"the staged bus change to {mark.aim} {ends}: {mark.failed}"
    step = "4" if mark.switched else "3" if mark.proved else "2"
    since = show_time(mark.switched or mark.proved or mark.begun)
    tried = f"; {describe_installation(mark)}" if mark.installed and step == "2" else ""
    late = f"; {mark.overdue}" if mark.overdue else ""
    return f"a staged bus change to {mark.aim} is in step {step} of 5 since {since}{tried}{late}"


def _wanted_power(owner: Owner) -> Optional[str]:
    try:
        spec = json.loads(owner.spec)
    except ValueError:  # written by someone else; then nothing is known
        return None
    return spec.get("power") if isinstance(spec, dict) else None


def _reconciling(owner: Owner) -> Condition:
    if not owner.creating and not owner.is_unfinished:
        return Condition("Reconciling", holds=False)
    what = ", ".join(owner.creating) or "its definition"
    return Condition(
        "Reconciling", holds=True, reason=f"being made, or interrupted: {what}; apply goes on"
    )


def _restart_required(reading: Reading) -> Condition:
    paths = pending_paths(reading)
    return Condition("RestartRequired", holds=bool(paths), reason=", ".join(paths))


def find_claims(
    readings: Mapping[str, Union[Reading, Unknown]],
) -> Mapping[Tuple[str, str], Tuple[str, ...]]:
    """Return who holds each UUID, MAC and former mark, and which machines bear their own mark."""
    claims: Dict[Tuple[str, str], List[str]] = {
        ("machine", name): [name] for name in readings if has_own_mark(readings, name)
    }
    for name, reading in sorted(readings.items()):
        if isinstance(reading, Reading):
            for key in sorted(_claims_of(reading)):
                claims.setdefault(key, []).append(name)
    return {key: tuple(names) for key, names in claims.items()}


def _claims_of(reading: Reading) -> Set[Tuple[str, str]]:
    claims = {("uuid", reading.view.uuid)}
    former_name = find_former_name(reading)
    if former_name is not None:
        claims.add(("mark", former_name))
    for machine in (reading.persistent, reading.live):
        if machine is not None:
            claims |= {
                ("mac", interface.mac) for interface in machine.interfaces or () if interface.mac
            }
    return claims
