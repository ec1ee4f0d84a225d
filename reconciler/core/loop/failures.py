"""What kinds of failure there are, for those who count and tell them. Pure."""

from __future__ import annotations

from typing import Dict, List, Mapping

from reconciler.errors import ReconcilerError, RefusedError, TransientError

TRANSIENT = "transient"
REFUSED = "refused"
TERMINAL = "terminal"
BUG = "bug"
FAILURES = (TRANSIENT, REFUSED, TERMINAL, BUG)


def kind_of(error: Exception) -> str:
    """Return the kind of an error; one that is not raised on purpose is a bug."""
    if isinstance(error, TransientError):
        return TRANSIENT
    if isinstance(error, RefusedError):
        return REFUSED
    return TERMINAL if isinstance(error, ReconcilerError) else BUG


def describe_unreached(reasons: Mapping[str, str]) -> str:
    """Say why drivers of libvirt are not reached, a reason that several have only once."""
    drivers: Dict[str, List[str]] = {}
    for driver, reason in sorted(reasons.items()):
        drivers.setdefault(reason, []).append(driver)
    return "; ".join(f"{', '.join(found)}: {reason}" for reason, found in drivers.items())
