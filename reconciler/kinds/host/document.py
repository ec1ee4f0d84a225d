"""What is wrong with `Host` documents, alone and beside each other and the machines. Pure."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.documents import DocumentPath, Finding
from reconciler.core.kinds import find_row
from reconciler.core.libvirt_daemons import BY_NAME, Mode
from reconciler.core.manifest import (
    HostManifest,
    Manifest,
    Place,
    digest_generation,
    may_be_same,
    write_canonical,
)

_PASSWORD = re.compile(r"[a-z0-9+]+://[^/@]*:[^/@]*@")
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
    for number, one in sorted(manifests.items()):
        if hosts and find_row(one.key.kind).is_placed:
            finding = _check_placement(one, tuple(hosts.values()))
            if finding is not None:
                yield number, finding


def _check_selectors(hosts: Mapping[int, HostManifest]) -> Iterator[Tuple[int, Finding]]:
    told: Dict[Tuple[int, int], bool] = {}
    for (_, earlier), (number, later) in combinations(sorted(hosts.items()), 2):
        for index, name in enumerate(later.selector):
            taken = any(may_be_same(name, one) for one in earlier.selector)
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
