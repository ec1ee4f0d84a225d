"""Leave out of a manifest what creating the machine anew would give on this host anyway. Pure.

What a default is stands in one place, `core.domain.defaults`: a field is left out if the completed
machine is the same without it. Where the host cannot say what it offers, nothing is left out.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Dict, Iterator, Optional, Tuple, Union

from reconciler.core.document import build_machine
from reconciler.core.domain import complete_machine
from reconciler.core.manifest import Place
from reconciler.core.model import Machine
from reconciler.core.world import MachineCaps, World

Spec = Dict[str, Any]
Path = Tuple[Union[str, int], ...]

# Fields that have a default. What a machine is (its size, its image, its state) has none, and a
# MAC address is how a device without an alias is found again.
_FIELDS = (
    "machine", "firmware", "guestAgent", "console", "graphics", "video", "rng", "tpm",
)  # fmt: skip
_DEVICE_FIELDS = {
    "disks": ("bus", "cache", "discard"),
    "cdroms": ("bus",),
    "interfaces": ("model",),
}
_NOWHERE = Place("", 0, 0)


def leave_out_defaults(manifest: Spec, around: World) -> Spec:
    """Return the manifest without the fields that change nothing."""
    try:
        whole = _complete(manifest, around)
    except ValueError:  # it has a value that no manifest can give, and validation says which
        return manifest
    if whole is None:
        return _shorten(manifest)
    for path in tuple(_candidates(manifest["spec"])):
        less = without(manifest, path)
        if _complete(less, around) == whole:
            manifest = less
    return _shorten(manifest)


def without(manifest: Spec, path: Path) -> Spec:
    """Return a copy that lacks what stands at a path below `spec`."""
    copy = deepcopy(manifest)
    parent: Any = copy["spec"]
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return copy


def _candidates(spec: Spec) -> Iterator[Path]:
    yield from ((one,) for one in _FIELDS if one in spec)
    if "model" not in spec["cpus"] and "mode" in spec["cpus"]:
        yield "cpus", "mode"
    for kind, fields in _DEVICE_FIELDS.items():
        for index, device in enumerate(spec.get(kind, ())):
            yield from ((kind, index, one) for one in fields if one in device)


def _complete(manifest: Spec, around: World) -> Optional[Machine]:
    """Return the machine that this would make here, as far as that can be told."""
    machine = build_machine(manifest, _NOWHERE).machine
    caps = around.machines.get(machine.machine or "")
    if not isinstance(caps, MachineCaps):
        return None
    return complete_machine(machine, caps, around.networks)


def _shorten(manifest: Spec) -> Spec:
    """Write processors of which only the number is left as a number."""
    cpus = manifest["spec"]["cpus"]
    if set(cpus) == {"count"}:
        manifest["spec"]["cpus"] = cpus["count"]
    return manifest
