"""An event as journal fields, and as one line. Pure.

Text comes from manifests, guests and libvirt: control characters are escaped and secrets hidden,
so that no message can be two or say something else than it does.
"""

from __future__ import annotations

import re
from typing import Dict

from reconciler.core.loop.events import Event
from reconciler.core.render.values import escape

IDENTIFIER = "virt-reconciler"
PREFIX = "VIRT_RECONCILER_"
_MOST_NAME = 64  # journald drops fields with longer names
_NO_NAME = re.compile("[^A-Z0-9_]")


def describe(event: Event) -> str:
    """Return the message, with the object it is about, on one line."""
    about = f"{event.object}: " if event.object is not None else ""
    return escape(f"{about}{event.message}")


def make_fields(event: Event) -> Dict[str, str]:
    """Return the journal fields of an event; docs/journal.md describes them."""
    fields = {_name(name): escape(value) for name, value in event.fields.items()}
    ours = {
        "KIND": event.kind.name,
        "OBJECT": event.object,
        "ACTION": event.action,
        "EFFECT": event.effect,
        "REVISION": event.revision,
    }
    fields.update((_name(name), escape(one)) for name, one in ours.items() if one is not None)
    return {
        "MESSAGE": describe(event),
        "MESSAGE_ID": event.kind.message_id,
        "PRIORITY": str(event.kind.level.value),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **fields,
    }


def _name(name: str) -> str:
    return f"{PREFIX}{_NO_NAME.sub('_', name.upper())}"[:_MOST_NAME]
