"""What kinds of failure there are, for those who count them. Pure."""

from __future__ import annotations

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
