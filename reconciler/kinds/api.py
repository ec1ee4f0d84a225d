"""What a kind of object provides, as a Protocol: the whole of what the rest of the program knows.

A kind is a folder and a row in the table (`core.kinds`); no module outside of it names it. Most
kinds need nothing special in half of this: their row is a `PlainKind` and has the rest.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import field
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ContextManager,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Union,
    cast,
)

from reconciler.core.faults import isolate
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.kinds import PureKind, find_row, list_rows
from reconciler.core.manifest import Desired, TemplateManifest, name_image
from reconciler.core.manifest_files import Differing, InForce
from reconciler.core.plan import Action, PlanOptions
from reconciler.core.world import DomainView, Reading, Unknown, World
from reconciler.errors import MissingError, ReconcilerError, TransientError

if TYPE_CHECKING:
    from reconciler.control.ports import Clock, Host, Progress
    from reconciler.core.guest import GuestProof, GuestView
    from reconciler.core.history import ChangeCause, ChangeRecord, LastKnown
    from reconciler.core.prune import Remnant

SETTLE_POLL = 0.25  # seconds


def _know_nothing(_key: Key) -> str:
    """Know of nothing that kept another object from being changed."""
    return ""


@frozen
class Awaiting:
    """How an action waits for guests that must be ready before it starts its own.

    `look` looks into one; without it nothing is waited for: a rollback does not wait, and the
    daemon withholds the start instead. `patience` is seconds. `find_fate` says why the same run did
    not change an object as planned. Whoever waits is `aside`, and gives up when nothing more may
    begin (`is_over`).
    """

    look: Optional[Callable[[Any], GuestView]] = None
    patience: float = 0.0
    find_fate: Callable[[Key], str] = _know_nothing
    aside: Callable[[], ContextManager[None]] = nullcontext
    is_over: Callable[[], bool] = bool


@frozen
class ActionTask:
    """One action to be carried out, under the object's lock, and with what.

    `refuse` raises if the object is not to be changed any more; it is asked before each part that
    has no way back. `kept` are the paths of what was done and stays, should the action fail.
    `awaiting` is how it waits for the guests of other machines.
    """

    host: Host
    desired: Desired
    action: Action
    clock: Clock
    progress: Progress
    refuse: Callable[[], None]
    kept: List[str] = field(default_factory=list)
    awaiting: Awaiting = Awaiting()

    def keep(self, paths: Iterable[str]) -> None:
        """Note what stays, in place of what was noted before."""
        self.kept[:] = paths


Execute = Callable[[ActionTask], Tuple[str, ...]]
"""Carries out an action and returns the paths that wait for the object's next cold start.

It takes the steps and reads back. If a step fails, it undoes what can be undone, and raises.
"""


@frozen
class Sighting:
    """An object as it is on the host at one moment.

    `state` is one word for it, `detail` the same with what else is known; `uuid` tells it from
    another of its name. `parts` are all that a plan depends on in the object itself: equal parts
    mean an equal plan. `is_active` says that it runs here. `view` is for the kind itself.
    """

    state: str
    detail: str = ""
    uuid: Optional[str] = None
    parts: Tuple[str, ...] = ()
    is_active: bool = False
    view: Any = None


@frozen
class PassTask:
    """One object to look at: what is desired, and what is known from earlier passes.

    `failures` in a row lengthen the wait for the next try; `drift` says that this manifest was
    carried out before. `placed` is the other host that the object was on before. `migrated` says
    that it went to another host, where it may run; `retried` when a person asked to try it again.
    `booted` says that the host was started since the object was last as its manifest says.
    """

    manifest: Any
    in_force: InForce = field(default_factory=InForce)
    failures: int = 0
    drift: bool = False
    last_error: str = ""
    placed: str = ""
    migrated: bool = False
    retried: float = 0
    booted: bool = False

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        key: Key = self.manifest.key
        return key


@frozen
class Scene:
    """What a pass over one object has found, and how it is planned.

    `desired` holds the object alone, with what it refers to; `host` and `uri` are where it is.
    `plan` reads what else the plan depends on. `sighting` is None where there is no such object;
    `show` returns the same with what is for people only, once it was planned. `generation` is what
    the object itself says was last applied to it. `unreadable` is why nothing may be concluded.
    """

    desired: Desired
    host: str
    uri: str
    plan: Callable[[PlanOptions], Action]
    sighting: Optional[Sighting] = None
    generation: Optional[str] = None
    unreadable: str = ""
    show: Optional[Callable[[], Optional[Sighting]]] = None

    @property
    def shown(self) -> Optional[Sighting]:
        """The object, with what is for people only."""
        return self.sighting if self.show is None else self.show()


class PassMemory(Protocol):
    """What is remembered of objects, for a pass."""

    def keep(self, last: Optional[LastKnown], seen: object) -> None:
        """Keep how an object was last seen, unless that was kept for the same `seen` before."""

    def find_last(self, key: Key) -> Optional[LastKnown]:
        """Return how an object was last seen."""


@frozen
class Surroundings:
    """Whom a pass may ask. `connect` reaches another host; None: nobody else is asked.

    `find_inside` returns what was seen of a guest last, and nothing that may have passed since.
    """

    host: Host
    memory: PassMemory
    wall: Callable[[], float]
    connect: Optional[Callable[[str], Host]] = None
    find_inside: Callable[[Key], Optional[GuestView]] = lambda _key: None


class ObjectKind(PureKind, Protocol):
    """A kind with what it does on a host. Its methods may be called from several threads."""

    @property
    def can_roll_back(self) -> bool:
        """Whether `rollback` knows the way back to before a change."""

    @property
    def is_locked(self) -> bool:
        """Whether one run at a time works on an object; libvirt must be there to lock it."""

    @property
    def changed_by_boot(self) -> FrozenSet[str]:
        """The paths of what a start of the host changes, without anybody's doing."""

    @property
    def drivers(self) -> Tuple[str, ...]:
        """The drivers of libvirt's without which nothing can be said of its objects."""

    def find_announced(self, what: str, name: str) -> FrozenSet[Key]:
        """Return whom news are about: of its objects, or of what they need.

        `what` is the word of libvirt or the host: `domain`, `network`, `pool`, `bridge`.
        """

    def find_here(self, host: Host) -> Union[str, Unknown]:
        """Return the name of this host. Raises TransientError."""

    def observe(self, host: Host, manifests: Sequence[Any], world: World) -> Mapping[Key, object]:
        """Read what plans of these objects depend on, beside what is in the world already.

        It becomes `World.observed`. What cannot be read is `Unknown`, never absent.
        """

    def look(self, around: Surroundings, task: PassTask) -> Scene:
        """Read what a pass over one object depends on. Raises TransientError, TerminalError."""

    def find_sighting(self, host: Host, key: Key) -> Optional[Sighting]:
        """Return an object as it is now; None only where it is certain that there is none."""

    def list_sightings(
        self, host: Host, desired: Desired
    ) -> Mapping[Key, Union[Sighting, Unknown]]:
        """Return all objects of the kind on this host, those without a manifest too.

        Raises TransientError if they cannot be listed; nothing is concluded then.
        """

    def find_remnant(self, sighting: Sighting) -> Optional[Union[Remnant, Unknown]]:
        """Return what an object without a manifest says of itself; None of what is not ours."""

    def has_guest(self, manifest: Any) -> bool:
        """Whether an object is a guest whose inside is looked into."""

    def look_inside(self, host: Host, manifest: Any) -> GuestView:
        """Look into a guest; may take seconds, and is only ever asked beside the loop.

        Raises NotFoundError where there is no such object, TransientError where the host cannot be
        asked.
        """

    def find_lack(self, host: Host, task: PassTask, scene: Scene) -> str:
        """Say what else is missing of an object that is as its manifest says; empty for nothing."""

    def rewrites(self, action: Action) -> bool:
        """Whether the action itself changes the `parts` of a sighting, and not only others do."""

    def find_uncontested(self, action: Action) -> FrozenSet[str]:
        """Return the paths of changes that nobody takes back, however often they are made."""

    def find_executor(self, action: Action) -> Execute:
        """Return what carries out an action: a change, or the end of an object."""

    def compare(
        self, base: Desired, head: Desired, differing: Differing, options: PlanOptions
    ) -> Sequence[Action]:
        """Plan what `head` changes of the kind's objects on hosts that are as `base` says."""

    def plan_delete(self, host: Host, desired: Desired, key: Key, uuid: str = "") -> Action:
        """Plan the end of an object whose manifest is gone.

        Raises NotFoundError if there is no such object, or another has its name.
        """

    def export(self, host: Host, key: Key) -> Mapping[str, Any]:
        """Return the `spec` of a manifest that an object fits. Raises TerminalError."""

    def record_change(
        self, host: Host, action: Action, cause: ChangeCause, now: float
    ) -> Optional[ChangeRecord]:
        """Return the record of an action that is about to be carried out, with what is before it.

        None where nothing will be done, as the object has changed since it was planned.
        """

    def find_last_known(self, host: Host, key: Key, now: float) -> Optional[LastKnown]:
        """Return what is to be kept of an object, to bring it back; None if nothing is."""


def find_kind(name: str) -> ObjectKind:
    """Return the row of a kind; KeyError for a kind that is not in the table."""
    return cast("ObjectKind", find_row(name))


def observe_objects(host: Host, desired: Desired, world: World) -> Mapping[Key, object]:
    """Return what kinds read of their objects beside what is in the world already."""
    found: Dict[Key, object] = {}
    for kind in list_reconciled():
        manifests = desired.of_kind(kind.name)
        if manifests:
            found.update(kind.observe(host, manifests, world))
    return found


def list_reconciled() -> Tuple[ObjectKind, ...]:
    """Return the kinds whose objects are planned, sorted by name."""
    return tuple(cast("ObjectKind", row) for row in list_rows() if row.is_reconciled)


def find_announced(what: str, name: str) -> FrozenSet[Key]:
    """Return whom news of libvirt or the host are about, in the words of every kind."""
    return frozenset(key for kind in list_reconciled() for key in kind.find_announced(what, name))


def read_checksums(
    host: Host, templates: Iterable[TemplateManifest]
) -> Mapping[str, Union[str, Unknown]]:
    """Read what the lists of templates' images have, by template; those without a list lack."""
    from reconciler.core.checksums import find_listed  # noqa: PLC0415 - start-up time

    found: Dict[str, Union[str, Unknown]] = {}
    for template in templates:
        address = template.address
        if address is None or address.checksums is None:
            continue
        listed = address.checksums
        try:
            read = host.downloads.read_signed
            content = isolate(read, listed.url, listed.signed_by, listed.signature)
            found[template.name] = find_listed(content, listed.url, address.url)
        except ReconcilerError as error:
            found[template.name] = Unknown(str(error), isinstance(error, TransientError))
    return found


def settle_template(template: TemplateManifest, world: World) -> TemplateManifest:
    """Return the template with the checksum that its list has, where a list decides.

    Raises MissingError if that is not known. Whoever has no clone to make need not ask.
    """
    address = template.address
    if address is None or address.checksums is None:
        return template
    found = world.find_checksum(template.name)
    if isinstance(found, Unknown):
        raise MissingError(f"template {template.name!r}: {found.reason}")
    known = replace(address, sha256=found)
    return replace(template, address=known, volume=name_image(template.name, known))


def wait_until(clock: Clock, limit: float, condition: Callable[[], bool]) -> bool:
    """Poll until the condition holds; return whether it did within `limit` seconds."""
    deadline = clock.now() + limit
    while not condition():
        if clock.now() >= deadline:
            return False
        clock.sleep(SETTLE_POLL)
    return True


def read_proof(host: Host, read: Callable[[DomainView], Reading], name: str) -> GuestProof:
    """Return what a guest shows during a staged bus change, and what it has written."""
    from reconciler.core import guest  # noqa: PLC0415 - start-up time

    now, reading = host.locks.me.since, read(host.domains.read_domain(name))
    mark = reading.owner.bus_change if reading.owner is not None else None
    if mark is None or mark.is_over or not reading.is_active:
        return guest.GuestProof(now)
    report = guest.GuestReport()
    if reading.is_running:
        probe = guest.DriverProbe(mark.bus, mark.serial, mark.mac)
        with suppress(ReconcilerError):
            report = host.guests.find_driver(name, probe)
    with suppress(ReconcilerError):
        return guest.GuestProof(now, report, host.domains.count_written(name, mark.targets))
    return guest.GuestProof(now, report)
