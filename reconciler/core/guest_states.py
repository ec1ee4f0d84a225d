"""The states of a guest in words, and the commands that end those between on and off. Pure."""

from __future__ import annotations

import shlex
from typing import Mapping

from reconciler.core.world import DomainView, GuestState


def describe_state(view: DomainView) -> str:
    """Return the state in words: `paused (user)`, `off, with a saved state`, `running, transient`.

    What libvirt does to the guest at this moment is part of it.
    """
    words = view.state.value + (f" ({view.state_reason})" if view.state_reason else "")
    if view.saved and not view.is_active:
        words += ", with a saved state"
    if not view.persistent:
        words += ", transient"
    return f"{words}, {view.job} under way" if view.job else words


def find_state(view: DomainView) -> GuestState:
    """Return the state; a guest that is paused because it crashed has crashed."""
    crashed = view.state is GuestState.PAUSED and view.state_reason == "crashed"
    return GuestState.CRASHED if crashed else view.state


_COMMANDS: Mapping[GuestState, str] = {
    GuestState.PAUSED: "virsh resume {name}",
    GuestState.CRASHED: "virsh destroy {name}",
    GuestState.PMSUSPENDED: "virsh dompmwakeup {name}",
    GuestState.SHUTTING_DOWN: "apply again when it is off",
}


def find_command(view: DomainView) -> str:
    """Return what ends a state between on and off; empty for every other."""
    return _COMMANDS.get(find_state(view), "").format(name=shlex.quote(view.name))


def store_command(name: str) -> str:
    """Return the command that stores the definition of a transient domain."""
    quoted, file = shlex.quote(name), shlex.quote(f"{name}.xml")
    return f"virsh dumpxml --inactive --security-info {quoted} > {file} && virsh define {file}"
