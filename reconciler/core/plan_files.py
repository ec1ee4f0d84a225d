"""A plan that is kept to be applied as it stands: its text form, and what is wrong with one. Pure.

What is kept is the plan as a person reads it, and seals of what it depends on; no definition, and
so no secret. Whoever applies it plans anew and goes on only where every seal still fits: what is
done then is what was read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any, Dict, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.plain_data import camel, from_plain
from reconciler.core.seals import Seal
from reconciler.errors import RefusedError

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
        from_plain(str, data["madeAt"], "madeAt"),
        from_plain(str, data["version"], "version"),
        from_plain(Tuple[str, ...], data["paths"], "paths"),
        from_plain(Optional[str], data["connect"], "connect"),
        from_plain(Tuple[str, ...], data["adopt"], "adopt"),
        from_plain(bool, data["adoptAll"], "adoptAll"),
        shown,
        tuple(_read_seal(seal) for seal in seals),
    )


def _read_seal(data: Dict[str, Any]) -> Seal:
    named = {camel(one.name): data[one.name] for one in fields(Seal)}
    seal: Seal = from_plain(Seal, named, "seals")
    return seal


def _digest(data: Dict[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
