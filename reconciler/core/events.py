"""The kinds of message that the daemon tells, each with the MESSAGE_ID by which it can be found.

`journalctl MESSAGE_ID=…` finds all of one kind (systemd.journal-fields(7)). The ids are for ever.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Mapping, Optional

from reconciler.core.frozen import frozen
from reconciler.core.key import Key


class Level(Enum):
    """syslog priorities (syslog(3))."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


@frozen
class EventKind:
    """One kind of message: its id, how loud it is, and what it means (for the docs)."""

    name: str
    message_id: str
    level: Level
    meaning: str


STARTED = EventKind(
    "started", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a01", Level.NOTICE, "the daemon started"
)
STOPPING = EventKind("stopping", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a02", Level.NOTICE, "asked to stop")
RELOADED = EventKind(
    "reloaded", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a03", Level.NOTICE, "configuration reloaded"
)
CONNECTED = EventKind(
    "connected", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a04", Level.NOTICE, "connected to a libvirt driver"
)
DISCONNECTED = EventKind(
    "disconnected",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a05",
    Level.WARNING,
    "a libvirt driver is not reached, or its connection was lost",
)
REVISION = EventKind(
    "revision", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a06", Level.NOTICE, "other manifests are in force"
)
SOURCE_FAILED = EventKind(
    "source-failed",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a07",
    Level.ERROR,
    "the manifests cannot be read; what was in force stays",
)
SOURCE_REFUSED = EventKind(
    "source-refused",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a08",
    Level.ERROR,
    "a revision is refused: its signature, or its history",
)
INVALID = EventKind(
    "invalid-manifest",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a09",
    Level.ERROR,
    "a manifest is invalid; the last valid one stays in force",
)
WATCH = EventKind(
    "watch",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a0a",
    Level.WARNING,
    "files are watched in another way, or a change was missed",
)
CHANGED = EventKind(
    "changed",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a0b",
    Level.NOTICE,
    "the manifest changed a field, or a guest was started or stopped after a restart of the host",
)
FAILED = EventKind(
    "failed", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a0c", Level.ERROR, "an object's pass failed"
)
DRIFT = EventKind(
    "drift",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a10",
    Level.WARNING,
    "someone had changed a field, and it was changed back to the manifest",
)
NOT_READY = EventKind(
    "not-ready",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a11",
    Level.WARNING,
    "an object is not as its manifest says, and nothing failed: something is withheld or missing",
)
CONDITION = EventKind(
    "condition",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a0d",
    Level.NOTICE,
    "a condition of an object has changed",
)
GUEST = EventKind(
    "guest",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a12",
    Level.NOTICE,
    "a guest is ready, or boots and is not ready yet",
)
GUEST_NOT_READY = EventKind(
    "guest-not-ready",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a13",
    Level.WARNING,
    "a guest does not show what its manifest names, or does not answer any more",
)
PRUNED = EventKind(
    "pruned", "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a0e", Level.WARNING, "an object's manifest is gone"
)
PRUNE_BLOCKED = EventKind(
    "prune-blocked",
    "d3d2f1a06c5f4d0a9a5d0c1f4f6b7a0f",
    Level.ERROR,
    "manifests are gone, and nothing is pruned until a person confirms",
)

KINDS = (
    STARTED,
    STOPPING,
    RELOADED,
    CONNECTED,
    DISCONNECTED,
    REVISION,
    SOURCE_FAILED,
    SOURCE_REFUSED,
    INVALID,
    WATCH,
    CHANGED,
    DRIFT,
    FAILED,
    NOT_READY,
    CONDITION,
    GUEST,
    GUEST_NOT_READY,
    PRUNED,
    PRUNE_BLOCKED,
)


@frozen
class Event:
    """One message; the optional parts become journal fields (VIRT_RECONCILER_OBJECT=, …)."""

    kind: EventKind
    message: str
    object: Optional[Key] = None
    action: Optional[str] = None
    effect: Optional[str] = None
    revision: Optional[str] = None
    fields: Mapping[str, str] = field(default_factory=dict)
