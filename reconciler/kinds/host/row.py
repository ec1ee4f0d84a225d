"""The row of the kind `Host`: libvirt's daemons on this host.

Needs no libvirt: it may be libvirt's daemons that are missing.
"""

# ruff: noqa: ARG002, PLC0415 - every row has the methods of the Protocol; start-up time

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.documents import Finding, Together
from reconciler.core.frozen import replace
from reconciler.core.key import Key
from reconciler.core.manifest import HOST, Desired, HostManifest, Locate, Place, is_named
from reconciler.core.manifest_files import Differing
from reconciler.core.plan import Action, ActionKind, Effect, PlanOptions, Value
from reconciler.core.world import Unknown, World
from reconciler.kinds.api import Execute, PassTask, Scene, Sighting, Surroundings
from reconciler.kinds.plain import PlainKind, make_scene

if TYPE_CHECKING:
    from reconciler.control.ports import Host
    from reconciler.core.libvirt_daemons import DaemonsView

GONE = "its manifest is removed; libvirt's daemons stay as they are"
CHECK_ONLY = "the Host sets `action: check`"


class HostKind(PlainKind):
    """A host with libvirt's daemons. Implements `ObjectKind`."""

    name = HOST
    word = "host"
    comes_first = True  # without its daemons nothing else can be done
    is_placed = False
    is_locked = False  # its changes are due also where libvirt cannot be asked

    def build(self, data: Mapping[str, Any], place: Place, locate: Locate) -> HostManifest:
        """Return what a document means."""
        from reconciler.kinds.host.planning import build_host

        return build_host(data, place)

    def check(self, manifest: HostManifest, data: Mapping[str, Any]) -> List[Finding]:
        """Return what is wrong with one document."""
        from reconciler.kinds.host.planning import check_host

        return check_host(manifest)

    def check_beside(
        self, documents: Together, spoiled: FrozenSet[int]
    ) -> Iterator[Tuple[int, Finding]]:
        """Yield hosts that have a name of another, and objects that are not for exactly one."""
        manifests = documents.manifests
        if not any(isinstance(manifest, HostManifest) for manifest in manifests.values()):
            return iter(())
        from reconciler.kinds.host.planning import check_hosts

        return check_hosts(manifests)

    def is_here(self, manifest: HostManifest, host: str) -> bool:
        """Whether it names this host and says anything about its daemons."""
        return manifest.mode is not None and is_named(manifest.selector, host)

    def plan(
        self, manifest: HostManifest, desired: Desired, world: World, options: PlanOptions
    ) -> Action:
        """Plan the daemons."""
        from reconciler.kinds.host.planning import plan_host

        return plan_host(manifest, world)

    def basis(self, manifest: HostManifest, desired: Desired, world: World) -> Mapping[str, object]:
        """Return nothing: that the steps would be the same is enough."""
        return {}

    def find_here(self, host: Host) -> Union[str, Unknown]:
        """Return the name that systemd has for this host."""
        view = host.units.observe()
        return _refuse(view) if isinstance(view, Unknown) else view.host

    def look(self, around: Surroundings, task: PassTask) -> Scene:
        """Inspect the daemons."""
        view = around.host.units.observe()
        if isinstance(view, Unknown):
            return make_scene(self, task.manifest, World("", "", daemons=view), None)
        world = World(view.host, view.uri, daemons=view)
        return make_scene(self, task.manifest, world, _make_sighting(view))

    def find_sighting(self, host: Host, key: Key) -> Optional[Sighting]:
        """Inspect the daemons."""
        view = host.units.observe()
        return None if isinstance(view, Unknown) else _make_sighting(view)

    def list_sightings(
        self, host: Host, desired: Desired
    ) -> Mapping[Key, Union[Sighting, Unknown]]:
        """Inspect the daemons, if a manifest asks for it."""
        asked = [manifest for manifest in desired.hosts if manifest.mode is not None]
        if not asked:
            return {}
        view = host.units.observe()
        if isinstance(view, Unknown):
            return {manifest.key: _refuse(view) for manifest in asked}
        return {
            manifest.key: _make_sighting(view)
            for manifest in asked
            if self.is_here(manifest, view.host)
        }

    def list_fields(self, manifest: HostManifest) -> Mapping[str, Value]:
        """Return what the manifest says."""
        return {
            "selector": ", ".join(manifest.selector),
            "uri": manifest.uri,
            "virtioWin": manifest.virtio_win,
            "daemons.mode": manifest.mode and manifest.mode.value,
            "daemons.required": ", ".join(manifest.required) or None,
            "daemons.forbidden": ", ".join(manifest.forbidden) or None,
            "daemons.action": "ensure" if manifest.ensure else "check",
        }

    def compare(
        self, base: Desired, head: Desired, differing: Differing, options: PlanOptions
    ) -> Sequence[Action]:
        """Show what the manifests say otherwise; a host is neither made nor deleted."""
        shown = super().compare(base, head, differing, options)
        return [self._restrict(action, head.objects.get(action.key)) for action in shown]

    def _restrict(self, action: Action, head: Any) -> Action:
        if head is not None and head.ensure:
            return replace(action, action=ActionKind.UPDATE)
        reason = GONE if head is None else CHECK_ONLY
        changes = tuple(replace(change, effect=Effect.WITHHELD) for change in action.changes)
        return replace(action, action=ActionKind.WITHHELD, changes=changes, reason=reason)

    def plan_delete(self, host: Host, desired: Desired, key: Key, uuid: str = "") -> Action:
        """Say that the daemons stay."""
        return Action(HOST, key.name, ActionKind.WITHHELD, reason=GONE)

    def find_executor(self, action: Action) -> Execute:
        """Change units."""
        from reconciler.kinds.host.execute import execute_host

        return execute_host


def _make_sighting(view: DaemonsView) -> Sighting:
    from reconciler.core.daemon_faults import detect_mode

    mode = detect_mode(view)
    detail = f"{mode.value} daemons" if mode is not None else "no daemon of libvirt's"
    return Sighting("up", detail, parts=(repr(view),))


def _refuse(view: Unknown) -> Unknown:
    return Unknown(f"the daemons cannot be inspected: {view.reason}", view.transient)


ROW = HostKind()
