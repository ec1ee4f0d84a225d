"""What is wrong with `Host` documents, alone and beside each other and the machines. Pure."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.documents import DocumentPath, Finding
from reconciler.core.libvirt_daemons import BY_NAME
from reconciler.core.manifest import HostManifest, MachineManifest

_PASSWORD = re.compile(r"[a-z0-9+]+://[^/@]*:[^/@]*@")
_DAEMONS: DocumentPath = ("spec", "daemons")


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


def check_hosts(manifests: Mapping[int, object]) -> Iterator[Tuple[int, Finding]]:
    """Yield number and finding of hosts that are named twice, and of machines without one host."""
    hosts = {
        number: manifest
        for number, manifest in manifests.items()
        if isinstance(manifest, HostManifest)
    }
    yield from _check_selectors(hosts)
    for number, one in sorted(manifests.items()):
        if hosts and isinstance(one, MachineManifest):
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


def _check_placement(
    machine: MachineManifest, hosts: Tuple[HostManifest, ...]
) -> Optional[Finding]:
    if machine.host is None:
        if len(hosts) == 1:
            return None
        names = ", ".join(sorted(host.name for host in hosts))
        message = f"there are several Hosts ({names}); set placement.host"
        return Finding(("spec",), message)
    mine = [host.name for host in hosts if any(may_be_same(machine.host, x) for x in host.selector)]
    if len(mine) > 1:
        message = f"{machine.host} is a name of several Hosts: {', '.join(sorted(mine))}"
        return Finding(("spec", "placement", "host"), message)
    return None


def may_be_same(one: str, other: str) -> bool:
    """Whether two names may be of one host: equal, or one is the other without its domain."""
    short = one.split(".", 1)[0] == other.split(".", 1)[0]
    return one == other or (short and ("." not in one or "." not in other))
