"""All of a host that any plan may ask for, at one moment, as a value and as a JSON document. Pure.

What is secret is hidden before it is kept. Whoever plans against it is answered as the host would
have answered then.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple, Union

from reconciler.core.frozen import frozen, replace
from reconciler.core.images import ImageView, SnapshotView
from reconciler.core.libvirt_daemons import DaemonsView
from reconciler.core.manifest import MACHINE, Desired, MachineManifest
from reconciler.core.plain_data import from_plain, to_plain
from reconciler.core.secret_refs import SecretText
from reconciler.core.secret_text import HIDDEN
from reconciler.core.secrets import hide_fragment, hide_secrets, hide_spec
from reconciler.core.world import DomainView, FileView, MachineCaps, PoolView, Unknown
from reconciler.errors import RefusedError

FORMAT_VERSION = 1
KEY = "virtReconcilerSnapshot"  # the first key, and its version: by it a snapshot is known

NOT_SEEN = Unknown("the daemons were not inspected")


@frozen
class HostSnapshot:
    """A host as it was. `taken_at` is UTC as `2027-01-15T08:00:00Z`, `version` the product's.

    `revision` is that of the manifests that the daemon had in force, if that is known. `sizes` maps
    a domain to its disks' virtual sizes, `obstacles` to its snapshots and checkpoints. `machines`
    maps each of `machine_types`, and the host's choice under an empty name, to what is offered for
    it. `shared` holds the (pool, image path) pairs that can share blocks. `images` is by path.
    `memory` are the host's bytes, `devices` its network devices; None where that is not known.
    `off_reasons` says why domains are off. `files` are what a start of the domains needs besides,
    by path.
    """

    taken_at: str
    version: str
    host: str
    uri: str
    revision: Optional[str] = None
    domains: Mapping[str, Union[DomainView, Unknown]] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    obstacles: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    networks: Mapping[str, bool] = field(default_factory=dict)
    pools: Mapping[str, Union[PoolView, Unknown]] = field(default_factory=dict)
    machine_types: Tuple[str, ...] = ()
    machines: Mapping[str, Union[MachineCaps, Unknown]] = field(default_factory=dict)
    shared: FrozenSet[Tuple[str, str]] = frozenset()
    images: Mapping[str, ImageView] = field(default_factory=dict)
    snapshots: Mapping[str, Tuple[SnapshotView, ...]] = field(default_factory=dict)
    daemons: Union[DaemonsView, Unknown] = NOT_SEEN
    memory: Optional[int] = None
    devices: Optional[FrozenSet[str]] = None
    off_reasons: Mapping[str, str] = field(default_factory=dict)
    inactive_pools: Tuple[str, ...] = ()
    files: Mapping[str, FileView] = field(default_factory=dict)


def write_snapshot(snapshot: HostSnapshot) -> str:
    """Return the document; the same host is the same text but for the time."""
    data = {KEY: FORMAT_VERSION, **to_plain(snapshot)}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def read_snapshot(text: str, name: str) -> HostSnapshot:
    """Understand a document, called `name` in messages. Raises RefusedError if it is none."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            f"{name}: is not a snapshot: {error}; use a file that `virt-reconciler snapshot` wrote"
        ) from error
    if not isinstance(data, dict) or KEY not in data:
        raise RefusedError(
            f"{name}: is not a snapshot; use a file that `virt-reconciler snapshot` wrote"
        )
    if data[KEY] != FORMAT_VERSION:
        raise RefusedError(
            f"{name}: is a snapshot of version {data[KEY]}, and this program knows "
            f"{FORMAT_VERSION}; take it with the same version as this"
        )
    return _read(data, name)


def _read(data: Dict[str, Any], name: str) -> HostSnapshot:
    try:
        snapshot: HostSnapshot = from_plain(HostSnapshot, data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{name}: is damaged: {error}; take it again") from error
    return snapshot


def hide_view(view: Union[DomainView, Unknown]) -> Union[DomainView, Unknown]:
    """Return a domain without its secrets."""
    if isinstance(view, Unknown):
        return view
    live = view.live_xml and hide_secrets(view.live_xml)
    return replace(view, persistent_xml=hide_secrets(view.persistent_xml), live_xml=live)


def hide_desired(desired: Desired) -> Desired:
    """Return manifests without their secrets, so that what a snapshot hides is no difference."""
    return desired.with_kind(MACHINE, map(_hide_manifest, desired.machines))


def _hide_manifest(manifest: MachineManifest) -> MachineManifest:
    machine = manifest.machine
    overlays = tuple(
        replace(overlay, fragment=hide_fragment(overlay.xpath, overlay.fragment))
        for overlay in machine.overlays
    )
    password = SecretText(HIDDEN) if machine.graphics_password is not None else None
    given = machine.credentials
    names = None if given is None else json.dumps(dict.fromkeys(json.loads(given), HIDDEN))
    machine = replace(machine, overlays=overlays, graphics_password=password, credentials=names)
    return replace(manifest, spec=hide_spec(manifest.spec), machine=machine)
