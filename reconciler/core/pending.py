"""What already stands in the stored definition and waits for the guest's next cold start.

Derived anew each time from the two configurations, so it can neither get stuck nor be forgotten.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

from reconciler.core.diff import compare
from reconciler.core.domain.firmware import settle_firmware
from reconciler.core.match import align
from reconciler.core.model import Machine
from reconciler.core.planning.update import RESOLVED_AT_START
from reconciler.core.world import Reading


def pending_paths(reading: Reading) -> Tuple[str, ...]:
    """Return the fields in which the running guest differs from its stored definition."""
    if reading.live is None:
        return ()
    stored = _comparable(reading.persistent)
    live = settle_firmware(stored.firmware, align(stored, reading.live))
    return tuple(one.path for one in compare(stored, live))


def _comparable(stored: Machine) -> Machine:
    cpus = stored.cpus
    if cpus is not None and cpus.mode in RESOLVED_AT_START:
        cpus = replace(cpus, mode=None, model=None)
    return replace(stored, cpus=cpus, power=None, autostart=None)
