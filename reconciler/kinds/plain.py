"""What most kinds answer where they need nothing special. A row says the rest."""

# ruff: noqa: ARG002 - a row has all methods of the Protocol

from __future__ import annotations

from dataclasses import fields
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
from reconciler.core.key import Key
from reconciler.core.kinds import PureKind
from reconciler.core.manifest import Desired, is_placed_here
from reconciler.core.manifest_files import Differing
from reconciler.core.plan import Action, ActionKind, Change, Effect, PlanOptions, Value
from reconciler.core.world import Unknown, World
from reconciler.errors import NotFoundError, TerminalError
from reconciler.kinds.api import PassTask, Scene, Sighting

if TYPE_CHECKING:
    from reconciler.control.ports import Host
    from reconciler.core.guest import GuestView
    from reconciler.core.history import ChangeCause, ChangeRecord, LastKnown
    from reconciler.core.prune import Remnant

# What of a manifest is no field of its `spec`.
_NO_FIELDS = frozenset({"name", "place", "generation", "labels", "host", "revision"})


class PlainKind:
    """What most kinds answer where they need nothing special."""

    name = ""
    word = ""
    schema: Optional[str] = None
    comes_first = False
    is_placed = True
    is_reconciled = True
    drivers: Tuple[str, ...] = ()
    can_roll_back = False
    is_locked = True
    changed_by_boot: FrozenSet[str] = frozenset()

    def is_planned(self, manifest: Any) -> bool:
        """Plan all objects of a kind that is reconciled."""
        return self.is_reconciled

    def check(self, manifest: Any, data: Mapping[str, Any]) -> List[Finding]:
        """Find nothing that the schema does not."""
        return []

    def check_beside(
        self, documents: Together, spoiled: FrozenSet[int]
    ) -> Iterator[Tuple[int, Finding]]:
        """Find nothing."""
        return iter(())

    def find_warnings(self, manifest: Any) -> Iterator[str]:
        """Find nothing."""
        return iter(())

    def claims(self, number: int, manifest: Any) -> Iterator[Claim]:
        """Have nothing but the name."""
        return iter(())

    def words(self, manifest: Any) -> Iterator[str]:
        """Have nothing but the name."""
        return iter(())

    def needs(self, manifest: Any, desired: Desired) -> FrozenSet[Key]:
        """Need nothing."""
        return frozenset()

    def needs_of_action(self, manifest: Any, action: Action, desired: Desired) -> FrozenSet[Key]:
        """Need the same for whatever is done."""
        return self.needs(manifest, desired)

    def is_here(self, manifest: Any, host: str) -> bool:
        """Whether the manifest names no host, or this one."""
        return is_placed_here(manifest, host)

    def basis(self, manifest: Any, desired: Desired, world: World) -> Mapping[str, object]:
        """Depend on the object itself."""
        return {"domain": world.observed.get(manifest.key)}

    def awaits(self, manifest: Any, action: Action) -> FrozenSet[Key]:
        """Return nothing."""
        return frozenset()

    def find_announced(self, what: str, name: str) -> FrozenSet[Key]:
        """Hear of nothing: its objects are read at each resync."""
        return frozenset()

    def find_here(self, host: Host) -> Union[str, Unknown]:
        """Return the name that libvirt has for this host."""
        return host.domains.host

    def observe(self, host: Host, manifests: Sequence[Any], world: World) -> Mapping[Key, object]:
        """Return nothing."""
        return {}

    def list_sightings(
        self, host: Host, desired: Desired
    ) -> Mapping[Key, Union[Sighting, Unknown]]:
        """Return nothing."""
        return {}

    def find_remnant(self, sighting: Sighting) -> Optional[Union[Remnant, Unknown]]:
        """Own nothing that could be pruned."""
        return None

    def has_guest(self, manifest: Any) -> bool:
        """Be no guest."""
        return False

    def look_inside(self, host: Host, manifest: Any) -> GuestView:
        """Have nothing inside."""
        from reconciler.core.guest import GuestView  # noqa: PLC0415 - start-up time

        return GuestView()

    def find_lack(self, host: Host, task: PassTask, scene: Scene) -> str:
        """Miss nothing."""
        return ""

    def rewrites(self, action: Action) -> bool:
        """Return whether there is anything to do."""
        return bool(action.steps)

    def find_uncontested(self, action: Action) -> FrozenSet[str]:
        """Return nothing."""
        return frozenset()

    def record_change(
        self, host: Host, action: Action, cause: ChangeCause, now: float
    ) -> Optional[ChangeRecord]:
        """Record each change with what is before it, and nothing else."""
        from reconciler.core.history import remember  # noqa: PLC0415 - start-up time

        return remember(action, None, cause, now)

    def find_last_known(self, host: Host, key: Key, now: float) -> Optional[LastKnown]:
        """Keep nothing."""
        return None

    def list_fields(self, manifest: Any) -> Mapping[str, Value]:
        """Return what a manifest says, by field."""
        values = {field.name: getattr(manifest, field.name) for field in fields(manifest)}
        return {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in _NO_FIELDS
        }

    def compare(
        self, base: Desired, head: Desired, differing: Differing, options: PlanOptions
    ) -> Sequence[Action]:
        """Plan what the manifests say otherwise, field by field."""
        keys = differing.changed | differing.added | differing.gone
        mine = sorted(key for key in keys if key.kind == self.name)
        return [self._compare(base.objects.get(key), head.objects.get(key), key) for key in mine]

    def _compare(self, base: Any, head: Any, key: Key) -> Action:
        old, new = ({} if side is None else self.list_fields(side) for side in (base, head))
        action = ActionKind.CREATE if base is None else ActionKind.UPDATE
        action = ActionKind.DELETE if head is None else action
        effect = Effect.DESTRUCTIVE if head is None else Effect.LIVE
        changes = tuple(
            Change(path, old.get(path), new.get(path), effect)
            for path in dict.fromkeys((*old, *new))
            if old.get(path) != new.get(path)
        )
        return Action(key.kind, key.name, action, changes)

    def export(self, host: Host, key: Key) -> Mapping[str, Any]:
        """Export nothing."""
        raise TerminalError(f"{key.name}: a {self.word} cannot be exported; write its manifest")

    def plan_delete(self, host: Host, desired: Desired, key: Key, uuid: str = "") -> Action:
        """Delete nothing."""
        raise NotFoundError(f"{key.name}: a {self.word} is never deleted")


def make_scene(kind: PureKind, manifest: Any, world: World, sighting: Optional[Sighting]) -> Scene:
    """Return what a pass has found of an object that refers to no other and is read at once."""
    desired = Desired.of(manifest)

    def plan(options: PlanOptions) -> Action:
        return kind.plan(manifest, desired, world, options)

    return Scene(desired, world.host, world.uri, plan, sighting)
