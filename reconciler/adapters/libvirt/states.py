"""Read what a guest does and what libvirt does to it: its state, the reason, the job under way.

A call for each, so only for the domains that the caller asks about.
"""

from __future__ import annotations

import re
from typing import Iterator, Mapping, Tuple

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Domain
from reconciler.core.world import GuestState

# virDomainState; libvirt's "no state" and "blocked" are guests that run.
_STATES: Mapping[int, GuestState] = {
    3: GuestState.PAUSED,
    4: GuestState.SHUTTING_DOWN,
    5: GuestState.OFF,
    6: GuestState.CRASHED,
    7: GuestState.PMSUSPENDED,
}
# The words of `virsh domstate --reason` (tools/virsh-domain-monitor.c), by virDomainPausedReason
# and virDomainCrashedReason.
_REASONS: Mapping[Tuple[GuestState, int], str] = {
    (GuestState.PAUSED, 1): "user",
    (GuestState.PAUSED, 2): "migrating",
    (GuestState.PAUSED, 3): "saving",
    (GuestState.PAUSED, 4): "dumping",
    (GuestState.PAUSED, 5): "I/O error",
    (GuestState.PAUSED, 6): "watchdog",
    (GuestState.PAUSED, 7): "from snapshot",
    (GuestState.PAUSED, 8): "shutting down",
    (GuestState.PAUSED, 9): "creating snapshot",
    (GuestState.PAUSED, 10): "crashed",
    (GuestState.PAUSED, 11): "starting up",
    (GuestState.PAUSED, 12): "post-copy",
    (GuestState.PAUSED, 13): "post-copy failed",
    (GuestState.PAUSED, 14): "api error",
    (GuestState.CRASHED, 1): "panicked",
}
# virDomainShutoffReason, likewise.
_OFF_REASONS = (
    *("unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed"),
    *("from snapshot", "daemon"),
)
# virDomainJobOperation, and virDomainBlockJobType.
_JOBS: Mapping[int, str] = {
    1: "start",
    2: "save",
    3: "restore",
    4: "incoming migration",
    5: "migration",
    6: "snapshot",
    7: "revert to a snapshot",
    8: "memory dump",
    9: "backup",
    10: "deletion of a snapshot",
}
_BLOCK_JOBS: Mapping[int, str] = {
    1: "block pull",
    2: "block copy",
    3: "block commit",
    4: "block commit",
    5: "backup",
}
_DISK_ERRORS: Mapping[int, str] = {1: "unspecified", 2: "no space"}
_RUNNING_JOBS = frozenset({1, 2})  # virDomainJobType: bounded, unbounded
_TARGETS = re.compile(r"<target dev=(['\"])([^'\"]+)\1 bus=")


def read_state(domain: Domain) -> Tuple[GuestState, str]:
    """Return the state of an active domain and its reason; empty for a guest that runs or is off.

    libvirt's errors are raised as they are.
    """
    number, reason = domain.state()[:2]
    state = _STATES.get(number, GuestState.RUNNING)
    if state in (GuestState.RUNNING, GuestState.OFF):
        return state, ""
    return state, _REASONS.get((state, reason), "unknown" if state is GuestState.PAUSED else "")


def read_off_reason(domain: Domain) -> str:
    """Return why a domain is off; empty if it is not."""
    number, reason = domain.state()[:2]
    if _STATES.get(number) is not GuestState.OFF:
        return ""
    return _OFF_REASONS[reason] if 0 <= reason < len(_OFF_REASONS) else "unknown"


def read_disk_errors(domain: Domain) -> Mapping[str, str]:
    """Return target → error of the disks whose errors paused the guest, as far as libvirt tells."""
    try:
        found = domain.diskErrors()
    except binding.Error:
        return {}
    return {target: _DISK_ERRORS.get(code, "unspecified") for target, code in found.items()}


def read_job(domain: Domain) -> str:
    """Return the job of an active domain as a whole (migration, dump, save, backup); else empty."""
    try:
        found = domain.jobStats()
    except binding.Error as error:
        # Another call has held the domain for 30 s, which is a job too.
        return "long operation" if binding.code_of(error) == binding.OPERATION_TIMEOUT else ""
    if found.get("type") not in _RUNNING_JOBS:
        return ""
    return _JOBS.get(found.get("operation", 0), "job of libvirt")


def find_job(domain: Domain) -> str:
    """Return the job under way on an active domain or one of its disks; empty if there is none."""
    return read_job(domain) or next(_find_block_jobs(domain), "")


def _find_block_jobs(domain: Domain) -> Iterator[str]:
    """Yield each disk's job; a disk that cannot be asked (a drive without a medium) has none."""
    for _, target in _TARGETS.findall(domain.XMLDesc()):
        try:
            found = domain.blockJobInfo(target)
        except binding.Error:
            continue
        if found:
            job = _BLOCK_JOBS.get(found.get("type", 0), "block job")
            yield f"{job} of disk {target}"
