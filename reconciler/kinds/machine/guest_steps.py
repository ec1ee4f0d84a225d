"""The steps that happen in a running guest, or that note what it has done.

What a guest did cannot be taken back, so nothing here ever is.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Protocol, Type

from reconciler.control.ports import Clock, Host, Progress
from reconciler.core.guest import ProgramEnd
from reconciler.core.plan import InstallDriver, RecordStart
from reconciler.kinds.machine.domain.mark import note_installation, note_start

# Exit statuses of pnputil's, see Microsoft's "PnPUtil return values".
_STATUSES: Mapping[int, str] = {
    0: "",
    259: " (no device of the guest matches the driver, or has a newer one)",
    3010: " (installed; the guest must be restarted to finish it)",
}


class GuestWork(Protocol):
    """What a step works with."""

    @property
    def host(self) -> Host:
        """The host."""

    @property
    def clock(self) -> Clock:
        """Time."""

    @property
    def name(self) -> str:
        """The domain."""

    @property
    def progress(self) -> Progress:
        """Whom to tell."""


def _record_start(work: GuestWork, step: RecordStart) -> None:  # noqa: ARG001
    if mark := note_start(read_definition(work), work.clock.wall()):
        work.host.domains.set_metadata(work.name, mark, True)  # noqa: FBT003


def _install_driver(work: GuestWork, step: InstallDriver) -> None:
    """Run the program; one that fails is a note in the mark, and the guest goes on as it is."""
    work.progress("installing the driver in the guest", 0, -1)
    end = work.host.guests.run(
        work.name, step.program, step.arguments, step.limit, work.clock.sleep
    )
    result = f"{step.driver}: {_describe_end(end)}"
    if mark := note_installation(read_definition(work), result):
        work.host.domains.set_metadata(work.name, mark, False)  # noqa: FBT003


def _describe_end(end: ProgramEnd) -> str:
    if end.status is None:
        return end.lack
    known = _STATUSES.get(end.status)
    output = f": {end.output}" if end.output else ""
    return f"exit status {end.status}{output if known is None else known}"


def read_definition(work: GuestWork) -> str:
    """Return the stored definition, as it is now."""
    return work.host.domains.read_domain(work.name).persistent_xml


GUEST_STEPS: Mapping[Type[Any], Callable[[GuestWork, Any], None]] = {
    RecordStart: _record_start,
    InstallDriver: _install_driver,
}
