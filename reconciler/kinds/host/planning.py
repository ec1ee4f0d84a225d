"""Check `Host` documents, and plan what becomes of a host's daemons. Pure.

Nothing is stopped that the manifest does not forbid, and nothing at all while guests run; nothing
is started that would stop something else (`Conflicts=` between the two modes).
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.daemon_faults import Fault, Need, find_needs
from reconciler.core.documents import DocumentPath, Finding
from reconciler.core.frozen import regex
from reconciler.core.kinds import find_row
from reconciler.core.libvirt_daemons import BY_NAME, DaemonsView, Mode, Verb
from reconciler.core.manifest import (
    HostManifest,
    Manifest,
    Place,
    digest_generation,
    may_be_same,
    write_canonical,
)
from reconciler.core.plan import Action, ActionKind, Change, ChangeUnits, Effect
from reconciler.core.world import Unknown, World
from reconciler.kinds.host.judgement import MUST_BE_OFF, Judgement, judge_all

_PASSWORD = regex(r"[a-z0-9+]+://[^/@]*:[^/@]*@")
_DAEMONS: DocumentPath = ("spec", "daemons")


def build_host(data: Mapping[str, Any], place: Place) -> HostManifest:
    """Return the manifest of a Host document."""
    name, spec = data["metadata"]["name"], data["spec"]
    labels = data["metadata"].get("labels", {})
    daemons = spec.get("daemons", {})
    return HostManifest(
        name=name,
        place=place,
        selector=tuple(spec.get("selector", (name,))),
        mode=Mode(daemons["mode"]) if daemons else None,
        required=tuple(daemons.get("required", ())),
        forbidden=tuple(daemons.get("forbidden", ())),
        ensure=daemons.get("action") == "ensure",
        uri=spec.get("uri"),
        virtio_win=spec.get("virtioWin"),
        generation=digest_generation(write_canonical(spec), labels),
        labels=labels,
    )


def check_host(manifest: HostManifest) -> List[Finding]:
    """Return what is wrong with a Host."""
    return [*_check_uri(manifest), *_check_required(manifest), *_check_forbidden(manifest)]


def _check_uri(manifest: HostManifest) -> Iterator[Finding]:
    if manifest.uri is not None and _PASSWORD.match(manifest.uri):
        message = "contains a password that anyone can read here; use ssh with a key, or TLS"
        yield Finding(("spec", "uri"), message)


def _check_required(manifest: HostManifest) -> Iterator[Finding]:
    for index, name in enumerate(manifest.required):
        path = (*_DAEMONS, "required", index)
        if name in manifest.forbidden:
            yield Finding(path, f"{name} is forbidden as well")
        elif manifest.mode and BY_NAME[name].mode not in (None, manifest.mode):
            yield Finding(path, f"{name} does not run on a host of mode {manifest.mode.value}")


def _check_forbidden(manifest: HostManifest) -> Iterator[Finding]:
    for index, name in enumerate(manifest.forbidden):
        if BY_NAME[name].mode is None:
            path = (*_DAEMONS, "forbidden", index)
            yield Finding(path, f"{name} serves the other daemons, in both modes")


def check_hosts(manifests: Mapping[int, Manifest]) -> Iterator[Tuple[int, Finding]]:
    """Yield number and finding of hosts that are named twice, and of machines without one host."""
    hosts = {
        number: manifest
        for number, manifest in manifests.items()
        if isinstance(manifest, HostManifest)
    }
    yield from _check_selectors(hosts)
    for number, manifest in sorted(manifests.items()):
        if hosts and find_row(manifest.key.kind).is_placed:
            finding = _check_placement(manifest, tuple(hosts.values()))
            if finding is not None:
                yield number, finding


def _check_selectors(hosts: Mapping[int, HostManifest]) -> Iterator[Tuple[int, Finding]]:
    told: Dict[Tuple[int, int], bool] = {}
    for (_, earlier), (number, later) in combinations(sorted(hosts.items()), 2):
        for index, name in enumerate(later.selector):
            taken = any(may_be_same(name, other) for other in earlier.selector)
            if taken and not told.setdefault((number, index), False):
                told[number, index] = True
                message = f"{name} is a name of Host {earlier.name!r} already"
                yield number, Finding(("spec", "selector", index), message)


def _check_placement(manifest: Manifest, hosts: Tuple[HostManifest, ...]) -> Optional[Finding]:
    if manifest.host is None:
        if len(hosts) == 1:
            return None
        names = ", ".join(sorted(host.name for host in hosts))
        message = f"there are several Hosts ({names}); set placement.host"
        return Finding(("spec",), message)
    mine = [
        host.name for host in hosts if any(may_be_same(manifest.host, x) for x in host.selector)
    ]
    if len(mine) > 1:
        message = f"{manifest.host} is a name of several Hosts: {', '.join(sorted(mine))}"
        return Finding(("spec", "placement", "host"), message)
    return None


KIND = "Host"
# What else may run on the host is not the manifest's business.
CONCERNS = (Need.REQUIRED, *MUST_BE_OFF)
CHECK_ONLY = "the Host sets `action: check`"


def plan_host(manifest: HostManifest, world: World) -> Action:
    """Plan one host's daemons."""
    view = world.daemons
    if isinstance(view, Unknown):
        reason = f"the daemons cannot be inspected: {view.reason}"
        return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=reason)
    judgements = judge_all(find_needs(manifest), view)
    rows = [
        (judgement, fault)
        for judgement in judgements
        if judgement.need in CONCERNS
        for fault in judgement.faults
    ]
    held = [_find_hold(manifest, judgement, fault, judgements, view) for judgement, fault in rows]
    changes = tuple(_change(judgement, fault, why) for (judgement, fault), why in zip(rows, held))
    steps = _steps([fault for (_, fault), why in zip(rows, held) if not why])
    if not changes:
        return Action(KIND, manifest.name, ActionKind.NONE)
    kind = ActionKind.UPDATE if steps else ActionKind.WITHHELD
    return Action(kind=KIND, name=manifest.name, action=kind, changes=changes, steps=steps)


def _change(judgement: Judgement, fault: Fault, hold: str) -> Change:
    path = f"daemons[{judgement.daemon.name}].{fault.field}"
    effect = Effect.WITHHELD if hold else Effect.LIVE
    reason = f"{hold}: {fault.reason} ({fault.advice})" if hold else fault.reason
    return Change(path, fault.observed, fault.desired, effect, reason)


def _find_hold(
    manifest: HostManifest,
    judgement: Judgement,
    fault: Fault,
    judgements: Sequence[Judgement],
    view: DaemonsView,
) -> str:
    """Say why a fault is not put right; empty if it is."""
    if not manifest.ensure:
        return CHECK_ONLY
    if not fault.fix:
        return "not done automatically"
    if judgement.need is Need.FORBIDDEN:
        return find_guests(view)
    return _find_conflict(judgement, judgements, view)


def find_guests(view: DaemonsView) -> str:
    """Say which guests keep daemons from being stopped; empty if none does."""
    if view.guests is None:
        return "cannot see whether guests run; run as root"
    return f"never while guests run ({', '.join(view.guests)})" if view.guests else ""


def _find_conflict(judgement: Judgement, judgements: Sequence[Judgement], view: DaemonsView) -> str:
    """Say which daemon of the other mode would be stopped by starting this one."""
    if judgement.daemon.mode is None:
        return ""
    for other in judgements:
        in_the_way = other.need in MUST_BE_OFF and bool(other.faults)
        if in_the_way and other.daemon.mode is not judgement.daemon.mode:
            guests = find_guests(view)
            if other.need is Need.OFF:
                return f"starting it would stop {other.daemon.name}, which is not `forbidden`"
            if guests:
                return f"starting it would stop {other.daemon.name}: {guests}"
    return ""


def _steps(faults: Sequence[Fault]) -> Tuple[ChangeUnits, ...]:
    """Return one step for each verb, in the verbs' order: stopping first, starting last."""
    return tuple(_merge(faults))


def _merge(faults: Sequence[Fault]) -> Iterator[ChangeUnits]:
    for verb in Verb:
        units = dict.fromkeys(fault.unit for fault in faults if verb in fault.fix)
        if units:
            yield ChangeUnits(verb, tuple(units))
