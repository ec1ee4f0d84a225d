"""Copy disks of a running domain by a backup job of QEMU's, which leaves nothing behind there.

A job writes each disk as it was when the job began, and ends with the guest, when it is done or
when it is aborted: no overlay, checkpoint or bitmap is made. The targets are allocated in full
beforehand: a write of the guest that the job must save first would fail where a target is full.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import FrozenSet, Iterator

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.objects import Domain
from reconciler.control.ports import Progress
from reconciler.core.transfers import CopyDisks
from reconciler.core.xmltree import fragment, make, parse
from reconciler.errors import MissingError, RefusedError, TransientError

_POLL = 0.25  # seconds
_NO_JOB = 0  # VIR_DOMAIN_JOB_NONE
_ABORT_LIMIT = 30.0  # seconds
# Thaws unless it is told within a minute that this was done: its standard input ends with us.
_THAW = 'read -r -t 60 || exec virsh --connect "$0" domfsthaw --domain "$1"'


def copy_disks(connections: Connections, step: CopyDisks, progress: Progress) -> None:
    """Copy the disks; the domain is then as it was, also where this fails or is interrupted."""
    doing = f"domain {step.machine}: copying its disks"
    with binding.calling(doing, binding.NO_DOMAIN):
        domain = connections.get().lookupByName(step.machine)
        if domain.UUIDString() != step.uuid:
            raise RefusedError(f"domain {step.machine} is another one than planned; plan again")
        if not domain.isActive():
            raise TransientError(_say_off(step, "was shut down before"))
        _end_former(domain, step)
        with suppress(binding.Error):
            domain.jobStats(binding.JOB_COMPLETED)  # forget how an earlier job ended
        try:
            with _frozen(connections.uri, domain, step):
                domain.backupBegin(_write_job(domain, step), None, binding.BACKUP_REUSE)
            _wait(domain, step, progress)
        except BaseException:
            _end_former(domain, step)
            raise


def _say_off(step: CopyDisks, what: str) -> str:
    return (
        f"{step.machine} {what} its disks were copied, so the copy is not complete; apply again: "
        "its disks are then copied while it is off"
    )


def _write_job(domain: Domain, step: CopyDisks) -> str:
    """Describe the job: all disks are named, as one that is not named is a matter of taste."""
    copied = {disk.target: disk for disk in step.disks}
    disks = make("disks")
    for place in parse(domain.XMLDesc()).iterfind("devices/disk/target"):
        target = place.get("dev", "")
        if target not in copied:
            disks.append(make("disk", {"name": target, "backup": "no"}))
            continue
        disk = copied[target]
        disks.append(
            make(
                "disk",
                {"name": target, "backup": "yes", "type": "file"},
                make("target", {"file": disk.path}),
                make("driver", {"type": disk.format}),
            )
        )
    return fragment(make("domainbackup", {"mode": "push"}, disks))


@contextmanager
def _frozen(uri: str, domain: Domain, step: CopyDisks) -> Iterator[None]:
    """Have the guest's file systems frozen within, if the step says so.

    Should this process be killed within, another one thaws them.
    """
    if not step.is_frozen:
        yield
        return
    if shutil.which("virsh") is None:
        raise MissingError(
            f"{step.machine}: nothing is frozen without virsh, which thaws if this process is "
            "killed: dnf install libvirt-client, apt install libvirt-clients"
        )
    guard = subprocess.Popen(
        ["bash", "-c", _THAW, uri, step.machine],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        try:
            domain.fsFreeze()
        except binding.Error as error:
            raise TransientError(
                f"{step.machine}: its guest agent does not freeze the file systems "
                f"({binding.message_of(error)}); without `freeze: true` the copy is "
                "crash-consistent"
            ) from error
        yield
    finally:
        with suppress(binding.Error):
            domain.fsThaw()
            guard.communicate(b"thawed\n")
        if guard.stdin is not None and not guard.stdin.closed:
            guard.stdin.close()  # it tries what we could not do


def _wait(domain: Domain, step: CopyDisks, progress: Progress) -> None:
    label = f"copy of {step.machine}"
    while True:
        try:
            stats = domain.jobStats()
        except binding.Error as error:
            if domain.isActive():
                raise
            raise TransientError(_say_off(step, "was shut down while")) from error
        if stats.get("type", _NO_JOB) == _NO_JOB:
            break
        progress(label, stats.get("disk_processed", 0), stats.get("disk_total", 0))
        SYSTEM_CLOCK.sleep(_POLL)
    ended = domain.jobStats(binding.JOB_COMPLETED)
    if ended.get("success"):
        total = ended.get("disk_total", 0)
        progress(label, total, total)
        return
    if not domain.isActive():
        raise TransientError(_say_off(step, "was shut down while"))
    why = ended.get("errmsg") or "the job was cancelled"
    raise TransientError(f"{step.machine}: its disks were not copied: {why}")


def _end_former(domain: Domain, step: CopyDisks) -> None:
    """End a job that copies to the same volumes: this one, or one of a run that was killed."""
    paths = frozenset(disk.path for disk in step.disks)
    with suppress(binding.Error):
        if not (paths & _list_targets(domain)):
            return
        domain.abortJob()
        deadline = SYSTEM_CLOCK.now() + _ABORT_LIMIT
        while _list_targets(domain) and SYSTEM_CLOCK.now() < deadline:
            SYSTEM_CLOCK.sleep(_POLL)


def _list_targets(domain: Domain) -> FrozenSet[str]:
    """Return the files that a backup job writes to; none if there is no such job."""
    try:
        root = parse(domain.backupGetXMLDesc())
    except binding.Error:
        return frozenset()
    return frozenset(place.get("file", "") for place in root.iterfind("disks/disk/target"))
