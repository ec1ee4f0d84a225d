"""The conditions of an owned machine, from live state alone. Pure.

What needs a memory of earlier passes (Stalled, next retry) is not known here and not made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional, Tuple, Union

from reconciler.core.owner import Owner
from reconciler.core.pending import pending_paths
from reconciler.core.world import Reading, Unknown, describe_state


@dataclass(frozen=True)
class Condition:
    """One condition. `holds` is None when it is not known."""

    type: str
    holds: Optional[bool]
    reason: str = ""

    @property
    def word(self) -> str:
        """True, False or Unknown."""
        return "Unknown" if self.holds is None else str(self.holds)


@dataclass(frozen=True)
class Status:
    """What is known of one machine. `generation` is that last applied in full."""

    name: str
    state: str
    conditions: Tuple[Condition, ...]
    generation: Optional[str] = None

    def condition(self, type_: str) -> Condition:
        """Return the condition of that type; Unknown if nothing is said about it."""
        return next(
            (one for one in self.conditions if one.type == type_), Condition(type_, holds=None)
        )


def is_owned(reading: Union[Reading, Unknown]) -> bool:
    """Whether the domain carries our mark, made for itself and not for what it was copied from."""
    if isinstance(reading, Unknown) or reading.owner is None:
        return False
    return reading.owner.name == reading.view.name


def find_status(name: str, reading: Union[Reading, Unknown]) -> Status:
    """Return the machine's conditions."""
    if isinstance(reading, Unknown):
        return Status(name, "unknown", (Condition("Ready", holds=None, reason=reading.reason),))
    if reading.owner is None or not is_owned(reading):
        return Status(
            name, reading.view.state.value, (Condition("Ready", holds=None, reason="not owned"),)
        )
    conditions = (
        _ready(reading, reading.owner),
        _reconciling(reading.owner),
        _restart_required(reading),
    )
    return Status(name, reading.view.state.value, conditions, reading.owner.generation or None)


def _ready(reading: Reading, owner: Owner) -> Condition:
    if owner.creating:
        return Condition("Ready", holds=False, reason="its disks are not complete")
    wanted = _wanted_power(owner)
    state = describe_state(reading.view)
    if wanted == "running" and not reading.is_running:
        return Condition("Ready", holds=False, reason=f"should be running and is {state}")
    if wanted == "stopped" and reading.is_active:
        return Condition("Ready", holds=False, reason=f"should be stopped and is {state}")
    return Condition("Ready", holds=True)


def _wanted_power(owner: Owner) -> Optional[str]:
    try:
        spec = json.loads(owner.spec)
    except ValueError:  # written by someone else; then nothing is known
        return None
    return spec.get("power") if isinstance(spec, dict) else None


def _reconciling(owner: Owner) -> Condition:
    if not owner.creating:
        return Condition("Reconciling", holds=False)
    what = ", ".join(owner.creating)
    return Condition(
        "Reconciling", holds=True, reason=f"being made, or interrupted: {what}; apply goes on"
    )


def _restart_required(reading: Reading) -> Condition:
    paths = pending_paths(reading)
    return Condition("RestartRequired", holds=bool(paths), reason=", ".join(paths))
