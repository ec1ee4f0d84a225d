"""What libvirt says of a guest between on and off, as our words."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, cast

import libvirt
import pytest

from reconciler.adapters.libvirt.domain_reader import find_job, read_disk_errors, read_state
from reconciler.adapters.libvirt.objects import Domain
from reconciler.core.world import GuestState
from tests.unit.adapters.libvirt_driver.test_errors import QEMU, Made

XML = """<domain><devices>
<disk><target dev='sda' bus='sata'/></disk>
<disk><target dev="vdb" bus="virtio"/></disk>
</devices></domain>"""


class FakeDomain:
    """A domain with a state, a job and jobs of its disks."""

    def __init__(
        self,
        state: Tuple[int, int] = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED),
        job: Optional[Dict[str, Any]] = None,
        blocks: Optional[Dict[str, Dict[str, Any]]] = None,
        error: Optional[Exception] = None,
    ) -> None:
        self._state, self._job, self._blocks, self._error = state, job, blocks or {}, error

    def state(self) -> Tuple[int, int]:
        return self._state

    def jobStats(self) -> Dict[str, Any]:  # noqa: N802
        if self._error is not None:
            raise self._error
        return self._job or {"type": libvirt.VIR_DOMAIN_JOB_NONE}

    def XMLDesc(self) -> str:  # noqa: N802
        return XML

    def blockJobInfo(self, target: str) -> Dict[str, Any]:  # noqa: N802
        if target == "sda":
            raise Made(libvirt.VIR_ERR_OPERATION_INVALID, QEMU, "no medium")
        return self._blocks.get(target, {})

    def diskErrors(self) -> Dict[str, int]:  # noqa: N802
        return {"vda": libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE}


def domain(**what: Any) -> Domain:
    return cast("Domain", FakeDomain(**what))


@pytest.mark.parametrize(
    ("found", "state", "reason"),
    [
        (("RUNNING", "RUNNING_UNPAUSED"), GuestState.RUNNING, ""),
        (("BLOCKED", None), GuestState.RUNNING, ""),
        (("SHUTOFF", "SHUTOFF_CRASHED"), GuestState.OFF, ""),
        (("PAUSED", "PAUSED_USER"), GuestState.PAUSED, "user"),
        (("PAUSED", "PAUSED_IOERROR"), GuestState.PAUSED, "I/O error"),
        (("PAUSED", "PAUSED_MIGRATION"), GuestState.PAUSED, "migrating"),
        (("PAUSED", "PAUSED_UNKNOWN"), GuestState.PAUSED, "unknown"),
        (("CRASHED", "CRASHED_PANICKED"), GuestState.CRASHED, "panicked"),
        (("PMSUSPENDED", None), GuestState.PMSUSPENDED, ""),
        (("SHUTDOWN", None), GuestState.SHUTTING_DOWN, ""),
    ],
)
def test_each_state_is_told_from_the_others(
    found: Tuple[str, Optional[str]], state: GuestState, reason: str
) -> None:
    numbers = [getattr(libvirt, f"VIR_DOMAIN_{one}") if one else 0 for one in found]
    assert read_state(domain(state=tuple(numbers))) == (state, reason)


def test_a_reason_that_is_newer_than_this_product_is_unknown() -> None:
    assert read_state(domain(state=(libvirt.VIR_DOMAIN_PAUSED, 99)))[1] == "unknown"


def test_a_guest_without_a_job_has_none() -> None:
    assert find_job(domain()) == ""


def test_a_job_of_the_whole_domain_is_named() -> None:
    job = {
        "type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
        "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP,
    }
    assert find_job(domain(job=job)) == "backup"


def test_a_job_of_one_disk_is_named_though_another_cannot_be_asked() -> None:
    copy = {"vdb": {"type": libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY, "cur": 1, "end": 2}}
    assert find_job(domain(blocks=copy)) == "block copy of disk vdb"


def test_a_domain_that_another_call_holds_is_busy() -> None:
    held = Made(libvirt.VIR_ERR_OPERATION_TIMEOUT, QEMU, "cannot acquire state change lock")
    assert find_job(domain(error=held)) == "long operation"


def test_a_disk_that_ran_out_of_space_is_told() -> None:
    assert read_disk_errors(domain()) == {"vda": "no space"}
