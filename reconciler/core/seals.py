"""What an action depends on, as digests: whoever keeps them can tell later what has moved on. Pure.

A digest says that something is another now, and not what it was: no definition and no secret
is in it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import Desired, Manifest
from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.world import World

# In the order in which they are told: what comes first explains what comes after it.
CAUSES: Mapping[str, str] = {
    "manifest": "its manifest was changed",
    "domain": "the domain was changed, made, removed, started or stopped",
    "template": "a template that it is made from was changed, or its image was",
    "volume": "a volume that it uses or gets was changed",
    "steps": "the plan would differ now (time, host, or another version of virt-reconciler)",
}

DONE = "nothing is left to do: it already matches its manifest"


@frozen
class Seal:
    """One object of a plan: what is to happen with it, and the digest of each of `CAUSES`.

    `has_work` tells whether anything is to be done; what is left alone may move on.
    """

    kind: str
    name: str
    has_work: bool
    manifest: str
    domain: str = ""
    template: str = ""
    volume: str = ""
    steps: str = ""


def seal_plan(plan: Plan, desired: Desired, world: World) -> Tuple[Seal, ...]:
    """Seal every action of a plan that was made of these."""
    return tuple(_seal(action, desired, world) for action in plan.actions)


def find_moved(former: Tuple[Seal, ...], present: Tuple[Seal, ...]) -> Tuple[str, ...]:
    """Return a line for each object that has moved on, and why; empty if none has."""
    now = {(one.kind, one.name): one for one in present}
    known = {(one.kind, one.name) for one in former}
    lines = [_compare(one, now.get((one.kind, one.name))) for one in former]
    lines += [
        f"{one.name}: its manifest is new" for key, one in sorted(now.items()) if key not in known
    ]
    return tuple(line for line in lines if line)


def _compare(former: Seal, present: Optional[Seal]) -> str:
    if present is None:
        return f"{former.name}: its manifest is gone, or is for another host now"
    is_done = bool(former.domain) and not present.domain  # so the rest was not looked at
    causes = CAUSES if former.has_work and not is_done else ("manifest",)
    moved = [cause for cause in causes if getattr(former, cause) != getattr(present, cause)]
    if former.has_work and is_done and not moved:
        return f"{former.name}: {DONE}"
    if moved[1:]:  # other steps are what comes of the rest
        moved = [one for one in moved if one != "steps"]
    return f"{former.name}: {'; '.join(CAUSES[one] for one in moved)}" if moved else ""


def _seal(action: Action, desired: Desired, world: World) -> Seal:
    manifest = desired.objects.get(Key(action.kind, action.name))
    seal = Seal(
        action.kind,
        action.name,
        bool(action.steps),
        _digest_values(_meaning(manifest)),
        steps=_digest_values((action.changes, action.steps)),
    )
    # What needs nothing done costs nothing here either.
    if action.action is ActionKind.NONE or manifest is None:
        return seal
    basis = find_row(action.kind).basis(manifest, desired, world)
    digests: Dict[str, Any] = {cause: _digest_values(value) for cause, value in basis.items()}
    return replace(seal, **digests)


def _meaning(manifest: Optional[Manifest]) -> object:
    """Return what a manifest says, without where it was written."""
    return manifest and (manifest.generation, manifest.host)


def _digest_values(value: object) -> str:
    """Return the digest of a value whose `repr` says all of it."""
    return hashlib.sha256(repr(value).encode()).hexdigest()
