"""Recognise a domain that has not changed since it was last looked at. Pure."""

from __future__ import annotations

import hashlib
from typing import Optional

from reconciler.core.world import DomainView


def fingerprint(generation: str, view: Optional[DomainView]) -> str:
    """Return a digest of all that a plan of this manifest depends on in the domain itself.

    Equal prints mean an equal plan, as far as sizes of disks, networks and pools stay as they are.
    Text is compared and not meaning: it is done for every domain at each resync.
    """
    made = hashlib.blake2b(generation.encode(), digest_size=16)
    if view is not None:
        state = (view.state.value, view.state_reason)
        flags = (view.uuid, *state, view.autostart, view.persistent, view.saved)
        for part in (*map(str, flags), view.persistent_xml, view.live_xml or ""):
            made.update(part.encode())
            made.update(b"\0")
    return made.hexdigest()
