"""What becomes of a difference in the stored and in the running configuration."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import pytest

from reconciler.core.machine import Cdrom, Disruption, Machine
from reconciler.core.manifest import Lifecycle
from reconciler.core.plan import Effect
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.decide import ONLY_STORED, Weighing, decide
from reconciler.kinds.machine.planning.guards import Guest

BOOT = Difference("disks[].boot", DifferenceKind.CHANGE, 1, 2, "root")
CACHE = Difference("disks[].cache", DifferenceKind.CHANGE, "none", "writeback", "root")


def gone(bus: str) -> Difference:
    """Return the removal of a drive that holds a medium."""
    return Difference(
        "cdroms[]", DifferenceKind.REMOVE, "cd", None, "cd", Cdrom("cd", bus, "/i/x.iso")
    )


def effects(
    stored: Sequence[Difference],
    live: Sequence[Difference],
    disruption: Disruption = Disruption.WHEN_OFF,
) -> List[Tuple[str, Optional[Effect]]]:
    """Decide for a running guest."""
    guest = Guest(Machine("vm"))
    weighing = Weighing(guest, guest, Lifecycle(disruption), None)
    return [(one.difference.path, one.effect) for one in decide(stored, live, weighing)]


@pytest.mark.parametrize("disruption", Disruption, ids=lambda one: one.value)
def test_what_the_running_guest_has_already_disturbs_nobody(disruption: Disruption) -> None:
    guest = Guest(Machine("vm"))
    [one] = decide([CACHE], [], Weighing(guest, guest, Lifecycle(disruption), None))
    assert one.change is not None
    assert (one.effect, one.change.reason) == (Effect.LIVE, ONLY_STORED)


def test_what_waits_is_a_reason_to_restart_where_that_is_allowed() -> None:
    assert effects([], [CACHE]) == [("disks[root].cache", None)]
    assert effects([], [CACHE], Disruption.RESTART) == [("disks[root].cache", Effect.RESTART)]


def test_nobody_is_restarted_for_the_boot_order() -> None:
    path = "disks[root].boot"
    assert effects([BOOT], [BOOT], Disruption.RESTART) == [(path, Effect.NEXT_BOOT)]
    assert effects([], [BOOT], Disruption.RESTART) == [(path, None)]


def test_a_medium_is_ejected_only_from_a_drive_that_stays() -> None:
    path = "cdroms[cd]"
    assert effects([gone("scsi")], [gone("scsi")]) == [(path, Effect.LIVE)]
    assert set(effects([gone("sata")], [gone("sata")])) == {
        (path, Effect.NEXT_BOOT),
        (f"{path}.media", Effect.LIVE),
    }
