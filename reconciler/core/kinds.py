"""Which kinds of object there are: one table, filled in one place by who starts the program.

A row is loaded when it is asked for first, so that a command pays for what it uses. Nothing but a
kind's own modules knows more of a kind than what its row provides.
"""

from __future__ import annotations

from collections import Counter
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Set,
    Tuple,
)

from reconciler.core.key import Key

if TYPE_CHECKING:
    from reconciler.core.documents import Claim, Finding, Together
    from reconciler.core.manifest import Desired, Locate, Manifest, Place
    from reconciler.core.plan import Action, PlanOptions
    from reconciler.core.world import World


class PureKind(Protocol):
    """What a kind provides without a host; the rest is in `kinds_api`. Everything here is pure."""

    @property
    def name(self) -> str:
        """The word behind `kind:` in a manifest."""

    @property
    def word(self) -> str:
        """What one of it is called in a sentence, like `virtual machine`."""

    @property
    def schema(self) -> Optional[str]:
        """The path of its JSON Schema; None for a schema that the program is installed with."""

    @property
    def comes_first(self) -> bool:
        """Whether objects of all other kinds need those of this kind."""

    @property
    def is_placed(self) -> bool:
        """Whether each of its objects is on one host."""

    @property
    def is_reconciled(self) -> bool:
        """Whether its objects are planned; else others only refer to them."""

    def is_planned(self, manifest: Any) -> bool:
        """Whether this object is planned; else others only refer to it."""

    def build(self, data: Mapping[str, Any], place: Place, locate: Locate) -> Manifest:
        """Return what a document means that its schema has passed."""

    def check(self, manifest: Any, data: Mapping[str, Any]) -> List[Finding]:
        """Return what is wrong with one document."""

    def check_beside(
        self, documents: Together, spoiled: FrozenSet[int]
    ) -> Iterator[Tuple[int, Finding]]:
        """Yield number and finding of what is wrong with documents beside the others."""

    def find_warnings(self, manifest: Any) -> Iterator[str]:
        """Yield what is valid and probably not what is meant, with its field in front."""

    def claims(self, number: int, manifest: Any) -> Iterator[Claim]:
        """Yield what an object has for itself alone, besides its name."""

    def words(self, manifest: Any) -> Iterator[str]:
        """Yield what other documents would have to contain to clash with it, besides its name."""

    def needs(self, manifest: Any, desired: Desired) -> FrozenSet[Key]:
        """Return what has to be there before it, and whose events concern it."""

    def needs_of_action(self, manifest: Any, action: Action, desired: Desired) -> FrozenSet[Key]:
        """Return what has to be there before an action, which may be less."""

    def awaits(self, manifest: Any, action: Action) -> FrozenSet[Key]:
        """Return what an action waits for by itself, so that it had better be done before."""

    def is_here(self, manifest: Any, host: str) -> bool:
        """Whether the object is to be on the host of that name, and so is planned there."""

    def plan(self, manifest: Any, desired: Desired, world: World, options: PlanOptions) -> Action:
        """Return what happens to the object; what is impossible is the action's reason."""

    def basis(self, manifest: Any, desired: Desired, world: World) -> Mapping[str, object]:
        """Return what a plan of the object depends on besides its manifest.

        By the names of causes in `seals`; all of a value is in its `repr`.
        """


_LOADERS: Dict[str, Callable[[], PureKind]] = {}
_ROWS: Dict[str, PureKind] = {}


def register_kind(name: str, load: Callable[[], PureKind]) -> None:
    """Add a kind to the table, or put another row in its place."""
    _LOADERS[name] = load
    _ROWS.pop(name, None)


def list_kinds() -> Tuple[str, ...]:
    """Return the names of all kinds, sorted."""
    return tuple(sorted(_LOADERS))


def find_row(name: str) -> PureKind:
    """Return the row of a kind; KeyError for a kind that is not in the table."""
    if name not in _ROWS:
        _ROWS[name] = _LOADERS[name]()
    return _ROWS[name]


def list_rows() -> Tuple[PureKind, ...]:
    """Return the rows of all kinds, sorted by name."""
    return tuple(map(find_row, list_kinds()))


def has_planned(desired: Desired) -> bool:
    """Whether any of the objects is planned."""
    return any(find_row(key.kind).is_planned(manifest) for key, manifest in desired.objects.items())


def count_objects(keys: Iterable[Key]) -> str:
    """Return how many objects there are of each kind, like `2 virtual machines, 1 host`."""
    counts = Counter(key.kind for key in keys)
    parts = []
    for kind in sorted(counts, reverse=True):
        number = counts[kind]
        word = find_row(kind).word if kind in _LOADERS else kind
        parts.append(f"{number} {word}" + ("" if number == 1 else "s"))
    return ", ".join(parts)


def find_all_needs(desired: Desired) -> Mapping[Key, FrozenSet[Key]]:
    """Return for each object which others of these it needs."""
    first = frozenset(key for key in desired.objects if find_row(key.kind).comes_first)
    needs = {}
    for key, manifest in desired.objects.items():
        row = find_row(key.kind)
        own = row.needs(manifest, desired) & desired.objects.keys()
        needs[key] = frozenset(own if row.comes_first else own | first)
    return needs


def find_cycle(needs: Mapping[Key, Iterable[Key]]) -> Tuple[Key, ...]:
    """Return a cycle, like (web, base, web); empty if there is none."""
    sound: Set[Key] = set()
    for start in sorted(needs):
        path: Dict[Key, Iterator[Key]] = {start: iter(sorted(needs[start]))}
        while path and start not in sound:
            key, waiting = next(reversed(path.items()))
            needed = next((other for other in waiting if other not in sound), None)
            if needed is None:
                sound.add(key)
                del path[key]
            elif needed in path:
                keys = list(path)
                return (*keys[keys.index(needed) :], needed)
            else:
                path[needed] = iter(sorted(needs.get(needed, ())))
    return ()
