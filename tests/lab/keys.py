"""Short ways to name objects in tests. No test is here."""

from __future__ import annotations

from reconciler.core.key import Key


def vm(name: str) -> Key:
    """Return the key of a virtual machine."""
    return Key("VirtualMachine", name)
