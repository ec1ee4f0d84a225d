"""The row of the kind `VirtualMachine`. Loads what a method needs when it is called."""

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

from reconciler.core.documents import Claim, Finding, Together
from reconciler.core.guests import describe_unknown, is_windows
from reconciler.core.key import Key
from reconciler.core.manifest import MACHINE, TEMPLATE, Desired, Locate, MachineManifest, Place
from reconciler.core.manifest_files import Differing
from reconciler.core.names import BUS_CHANGE
from reconciler.core.plan import (
    Action,
    ActionKind,
    CreateVolume,
    Define,
    PlanOptions,
    Resume,
    SetMetadata,
)
from reconciler.core.world import Unknown, World
from reconciler.kinds.api import Execute, PassTask, Scene, Sighting, Surroundings
from reconciler.kinds.machine.checks import check_machine
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.references import check_templates, claims_of_machine, words_of_machine
from reconciler.kinds.plain import PlainKind

if TYPE_CHECKING:
    from reconciler.control.ports import Host
    from reconciler.core.guest import GuestView
    from reconciler.core.history import ChangeCause, ChangeRecord, LastKnown
    from reconciler.core.prune import Remnant

# What libvirt and the host announce → the kind that it has in `needs`.
ANNOUNCED = {"domain": MACHINE, "network": "Network", "pool": "StoragePool", "bridge": "Bridge"}


class MachineKind(PlainKind):
    """A virtual machine: a domain of libvirt's. Implements `ObjectKind`."""

    name = MACHINE
    word = "virtual machine"
    drivers = ("qemu",)
    can_roll_back = True
    changed_by_boot = frozenset({"power"})

    def build(self, data: Mapping[str, Any], place: Place, locate: Locate) -> MachineManifest:
        """Return what a document means."""
        return build_machine(data, place, locate)

    def check(self, manifest: MachineManifest, data: Mapping[str, Any]) -> List[Finding]:
        """Return what is wrong with one document."""
        return check_machine(manifest, data)

    def check_beside(
        self, documents: Together, spoiled: FrozenSet[int]
    ) -> Iterator[Tuple[int, Finding]]:
        """Yield what is wrong with the templates and machines that machines name."""
        for number, manifest in documents.manifests.items():
            if isinstance(manifest, MachineManifest):
                for finding in check_templates(manifest, documents, spoiled):
                    yield number, finding
                if manifest.lifecycle.start_after:
                    from reconciler.kinds.machine.start_order import check_start_order

                    for finding in check_start_order(manifest, documents, spoiled):
                        yield number, finding

    def find_warnings(self, manifest: MachineManifest) -> Iterator[str]:
        """Yield what is odd about its `os` and its start, and what a Windows cannot do."""
        text = describe_unknown(manifest.machine.os)
        if text:
            yield f"spec.{text}"
        if manifest.lifecycle.start_after and manifest.machine.autostart:
            yield (
                "spec.autostart: libvirt starts it with the host and waits for nobody; for "
                "lifecycle.startAfter to hold then too, write `autostart: false` and have the "
                "daemon start it"
            )
        if is_windows(manifest.machine.os):
            from reconciler.kinds.machine.planning.windows_guests import warn_windows

            yield from (f"spec.{text}" for text in warn_windows(manifest.machine))

    def claims(self, number: int, manifest: MachineManifest) -> Iterator[Claim]:
        """Yield its UUID, addresses and images."""
        return claims_of_machine(number, manifest)

    def words(self, manifest: MachineManifest) -> Iterator[str]:
        """Yield its addresses and images."""
        return words_of_machine(manifest)

    def needs(self, manifest: MachineManifest, desired: Desired) -> FrozenSet[Key]:
        """Return the templates of its disks, and its pools, networks and bridges."""
        machine = manifest.machine
        disks, cards = machine.disks or (), machine.interfaces or ()
        return frozenset(
            (
                *(Key(TEMPLATE, disk.template) for disk in disks if disk.template),
                *(Key(MACHINE, disk.origin.machine) for disk in disks if disk.origin),
                *(Key("StoragePool", disk.pool or "default") for disk in disks),
                *(Key("Network", card.network) for card in cards if card.network),
                *(Key("Bridge", card.bridge) for card in cards if card.bridge),
                *(Key(MACHINE, name) for name in manifest.lifecycle.start_after),
            )
        )

    def needs_of_action(
        self, manifest: MachineManifest, action: Action, desired: Desired
    ) -> FrozenSet[Key]:
        """Return the templates that disks are cloned from by this action, or were before."""
        cloned = {
            step.disk
            for step in action.steps
            if isinstance(step, CreateVolume) and (step.origin or step.machine)
        }
        is_whole = action.action is ActionKind.DELETE
        disks = [disk for disk in manifest.machine.disks or () if is_whole or disk.name in cloned]
        return frozenset(
            (
                *(Key(TEMPLATE, disk.template) for disk in disks if disk.template),
                *(Key(MACHINE, disk.origin.machine) for disk in disks if disk.origin),
            )
        )

    def awaits(self, manifest: MachineManifest, action: Action) -> FrozenSet[Key]:
        """Return the machines whose guests must be ready before this action starts its own."""
        if not manifest.lifecycle.start_after:
            return frozenset()
        from reconciler.kinds.machine.start_order import is_awaiting

        names = manifest.lifecycle.start_after if is_awaiting(action) else ()
        return frozenset(Key(MACHINE, name) for name in names)

    def find_announced(self, what: str, name: str) -> FrozenSet[Key]:
        """Return the machine, or the pool, network or bridge that machines need."""
        return frozenset({Key(ANNOUNCED[what], name)} if what in ANNOUNCED else ())

    def plan(
        self, manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
    ) -> Action:
        """Plan the machine."""
        from reconciler.kinds.machine.planner import plan_machine

        return plan_machine(manifest, desired, world, options)

    def basis(
        self, manifest: MachineManifest, desired: Desired, world: World
    ) -> Mapping[str, object]:
        """Return its domain, templates and volumes."""
        from reconciler.kinds.machine.references import find_basis

        return find_basis(manifest, desired, world)

    def look(self, around: Surroundings, task: PassTask) -> Scene:
        """Read the domain, those of its templates, and what the plan depends on."""
        from reconciler.kinds.machine.sightings import look

        return look(around, task)

    def find_sighting(self, host: Host, key: Key) -> Optional[Sighting]:
        """Read the domain."""
        from reconciler.kinds.machine.sightings import find_sighting

        return find_sighting(host, key)

    def list_sightings(
        self, host: Host, desired: Desired
    ) -> Mapping[Key, Union[Sighting, Unknown]]:
        """List the domains."""
        from reconciler.kinds.machine.sightings import list_sightings

        return list_sightings(host, desired)

    def find_remnant(self, sighting: Sighting) -> Optional[Union[Remnant, Unknown]]:
        """Read our mark."""
        from reconciler.kinds.machine.sightings import find_remnant

        return find_remnant(sighting)

    def has_guest(self, manifest: MachineManifest) -> bool:
        """Whether it has an agent, a seed whose use is over one day, or disks that may be moved."""
        is_given = manifest.cloud_init is not None or manifest.windows is not None
        is_staged = manifest.lifecycle.bus_change.is_staged(manifest.machine.os)
        return manifest.machine.guest_agent is True or is_given or is_staged

    def look_inside(self, host: Host, manifest: MachineManifest) -> GuestView:
        """Ask the guest's agent."""
        from reconciler.kinds.machine.guest import look_inside

        return look_inside(host, manifest)

    def find_lack(self, host: Host, task: PassTask, scene: Scene) -> str:
        """Say which of a running guest's networks is not active."""
        from reconciler.kinds.machine.sightings import find_missing_networks

        return find_missing_networks(host, task, scene)

    def rewrites(self, action: Action) -> bool:
        """Whether it stores a definition, so that another one afterwards may be its own.

        Else somebody has changed it meanwhile, and at that it has not been tried.
        """
        return any(isinstance(step, (Define, SetMetadata)) for step in action.steps)

    def find_uncontested(self, action: Action) -> FrozenSet[str]:
        """Return what nobody fights about.

        That is `power` of a guest that goes on after an I/O error, and a staged bus change.
        """
        paths = {change.path for change in action.changes}
        if BUS_CHANGE in paths:
            return frozenset(paths)
        steps = (step for step in action.steps if isinstance(step, Resume))
        return frozenset({"power"} if any(steps) else ())

    def find_executor(self, action: Action) -> Execute:
        """Delete the machine, or change it."""
        if action.action is ActionKind.DELETE:
            from reconciler.kinds.machine.deletion import execute_delete

            return execute_delete

        from reconciler.kinds.machine.action import execute_machine

        return execute_machine

    def compare(
        self, base: Desired, head: Desired, differing: Differing, options: PlanOptions
    ) -> Sequence[Action]:
        """Plan on a host that is as `base` says."""
        from reconciler.kinds.machine.comparison import compare_machines

        return compare_machines(base, head, differing, options)

    def plan_delete(self, host: Host, desired: Desired, key: Key, uuid: str = "") -> Action:
        """Plan the machine's end, as the spec last applied to it says."""
        from reconciler.kinds.machine.deletion import plan_deletion

        return plan_deletion(host, desired, key.name, uuid)

    def record_change(
        self, host: Host, action: Action, cause: ChangeCause, now: float
    ) -> Optional[ChangeRecord]:
        """Record the change with the definition before it."""
        from reconciler.kinds.machine.sightings import record_change

        return record_change(host, action, cause, now)

    def find_last_known(self, host: Host, key: Key, now: float) -> Optional[LastKnown]:
        """Keep the definition."""
        from reconciler.kinds.machine.sightings import find_last_known

        return find_last_known(host, key, now)


ROW = MachineKind()
