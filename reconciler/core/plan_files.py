"""A plan that is kept to be applied as it is, and what it depends on as digests. Pure.

What is kept is the plan as a person reads it, and seals of what it depends on: digests, which say
that something is another now and not what it was. No definition is in it, and so no secret.
Whoever applies it plans anew and goes on only where every seal still fits: what is done then is
what was read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any, Dict, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen, regex, replace
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import Desired, Manifest
from reconciler.core.plain_data import camel, from_plain
from reconciler.core.plan import (
    Action,
    ActionKind,
    AttachDevice,
    Change,
    Define,
    DetachDevice,
    Plan,
    SetMetadata,
    Step,
    UpdateDevice,
)
from reconciler.core.secrets import hide_secrets, hide_sides
from reconciler.core.world import World
from reconciler.errors import RefusedError

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
    now = {(seal.kind, seal.name): seal for seal in present}
    known = {(seal.kind, seal.name) for seal in former}
    lines = [_compare(seal, now.get((seal.kind, seal.name))) for seal in former]
    lines += [
        f"{seal.name}: its manifest is new" for key, seal in sorted(now.items()) if key not in known
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
        moved = [cause for cause in moved if cause != "steps"]
    return f"{former.name}: {'; '.join(CAUSES[cause] for cause in moved)}" if moved else ""


def _seal(action: Action, desired: Desired, world: World) -> Seal:
    manifest = desired.objects.get(Key(action.kind, action.name))
    seal = Seal(
        action.kind,
        action.name,
        bool(action.steps),
        _digest_values(_meaning(manifest)),
        steps=_digest_values((_hide_changes(action), tuple(map(_hide_step, action.steps)))),
    )
    # What needs nothing done costs nothing here either.
    if action.action is ActionKind.NONE or manifest is None:
        return seal
    basis = find_row(action.kind).basis(manifest, desired, world)
    digests: Dict[str, Any] = {cause: _digest_values(value) for cause, value in basis.items()}
    return replace(seal, **digests)


def _hide_changes(action: Action) -> Tuple[Change, ...]:
    """Return the changes without secrets: a digest of a short password is as good as it."""
    hidden = (hide_sides(change.path, change.observed, change.desired) for change in action.changes)
    return tuple(
        replace(change, observed=observed, desired=desired)
        for change, (observed, desired) in zip(action.changes, hidden)
    )


# What a mark says of secrets depends on who may read the host's key, and is no reason to refuse.
_DIGEST_IN_MARK = regex(r"\s*<(?:\w+:)?secret of=[^>]*/>")


def _hide_step(step: Step) -> Step:
    if isinstance(step, (Define, SetMetadata, AttachDevice, UpdateDevice, DetachDevice)):
        return replace(step, xml=_DIGEST_IN_MARK.sub("", hide_secrets(step.xml)))
    return step


def _meaning(manifest: Optional[Manifest]) -> object:
    """Return what a manifest says, without where it was written."""
    return manifest and (manifest.generation, manifest.host)


def _digest_values(value: object) -> str:
    """Return the digest of a value whose `repr` says all of it."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


# 2: what a seal says of hosts and templates is another digest than in 1.
FORMAT_VERSION = 2
KEY = "virtReconcilerPlan"  # the first key, and its version: by it a plan file is known


@frozen
class PlanFile:
    """A kept plan. `shown` is the plan as JSON data, `paths` the manifests' absolute paths.

    `made_at` is UTC as `2027-01-15T08:00:00Z`. `connect` is the URI that was asked for, None for
    libvirt's own choice.
    """

    made_at: str
    version: str
    paths: Tuple[str, ...]
    connect: Optional[str]
    adopt: Tuple[str, ...]
    adopt_all: bool
    shown: Dict[str, Any]
    seals: Tuple[Seal, ...]

    @property
    def host(self) -> str:
        """The host it was made for."""
        return str(self.shown["host"])


def write_plan_file(kept: PlanFile) -> str:
    """Return the text of a plan file; the same plan at the same time is the same text."""
    data: Dict[str, Any] = {
        KEY: FORMAT_VERSION,
        "madeAt": kept.made_at,
        "version": kept.version,
        "paths": list(kept.paths),
        "connect": kept.connect,
        "adopt": list(kept.adopt),
        "adoptAll": kept.adopt_all,
        "plan": kept.shown,
        "seals": [asdict(seal) for seal in kept.seals],
    }
    return json.dumps({**data, "digest": _digest(data)}, indent=2) + "\n"


def read_plan_file(text: str, name: str) -> PlanFile:
    """Understand a plan file, called `name` in messages.

    Raises RefusedError for one that is damaged, was changed by hand, or is of another version.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{name}: is not a plan file: {error}") from error
    if not isinstance(data, dict) or KEY not in data:
        raise RefusedError(
            f"{name}: is not a plan file: use manifests (*.yaml), or a file that `plan --out` wrote"
        )
    if data[KEY] != FORMAT_VERSION:
        raise RefusedError(
            f"{name}: is a plan file of version {data[KEY]}, and this program knows "
            f"{FORMAT_VERSION}; plan again with `plan --out`"
        )
    digest = data.pop("digest", None)
    if digest != _digest(data):
        raise RefusedError(
            f"{name}: was modified after it was written (digest mismatch); plan again"
        )
    try:
        return _understand(data)
    except (KeyError, TypeError, ValueError) as error:  # whoever wrote it has made the digest fit
        raise RefusedError(f"{name}: is not a plan file: invalid content ({error})") from error


def _understand(data: Dict[str, Any]) -> PlanFile:
    shown: Dict[str, Any] = from_plain(dict, data["plan"], "plan")
    from_plain(str, shown["host"], "plan.host")
    seals = from_plain(Tuple[dict, ...], data["seals"], "seals")
    return PlanFile(
        made_at=from_plain(str, data["madeAt"], "madeAt"),
        version=from_plain(str, data["version"], "version"),
        paths=from_plain(Tuple[str, ...], data["paths"], "paths"),
        connect=from_plain(Optional[str], data["connect"], "connect"),
        adopt=from_plain(Tuple[str, ...], data["adopt"], "adopt"),
        adopt_all=from_plain(bool, data["adoptAll"], "adoptAll"),
        shown=shown,
        seals=tuple(_read_seal(seal) for seal in seals),
    )


def _read_seal(data: Dict[str, Any]) -> Seal:
    named = {camel(field.name): data[field.name] for field in fields(Seal)}
    seal: Seal = from_plain(Seal, named, "seals")
    return seal


def _digest(data: Dict[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
