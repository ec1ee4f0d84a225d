"""Read a host for a plan: the domains at first, and then what the plan asks.

A plan is made of what is known. Where it depends on a fact that was not read, it raises a
`HostQuestion`, `ANSWERS` says how that is read, and the plan is made again, until it asks nothing.
So the plan and what was read for it come from one computation. Reads only. What cannot be read is
`Unknown` for the object that it concerns; only the list of domains itself must succeed, except
where libvirt's daemons say why it cannot.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
)

from reconciler.core.faults import Fact, HostQuestion, Section
from reconciler.core.frozen import replace
from reconciler.core.images import Images
from reconciler.core.key import Key
from reconciler.core.manifest import MACHINE, Desired, is_placed_here
from reconciler.core.names import QUIET, Owner, describe_busy, describe_unseen, name_place
from reconciler.core.plan import Plan, PlanOptions
from reconciler.core.planner import find_planners, to_plan
from reconciler.core.world import Reading, Unknown, World
from reconciler.errors import TransientError
from reconciler.kinds.api import observe_objects
from reconciler.kinds.machine.answers import ANSWERS, KnownHost, Readings, Views, understand
from reconciler.kinds.machine.elsewhere import Background, find_lost
from reconciler.kinds.machine.planner import find_served
from reconciler.kinds.machine.planning.images import all_volumes

if TYPE_CHECKING:
    from reconciler.control.ports import Host
    from reconciler.core.libvirt_daemons import DaemonsView

T = TypeVar("T")
NO_BACKGROUND = Background()


class ObservedHost(KnownHost):
    """A host that is read as plans of these manifests ask for it."""

    def make(self, make: Callable[[World], T]) -> T:
        """Return what is made of the world; what it asks is read, until it asks nothing."""
        while True:
            try:
                return make(self.world)
            except HostQuestion as question:
                self._answer(question.facts)

    def make_all(self, makers: Iterable[Callable[[World], T]]) -> Tuple[T, ...]:
        """Return what each makes; what several ask is read once for all of them.

        One goes ahead to its end: what it asks, the others mostly ask too.
        """
        made: Dict[int, T] = {}
        waiting = dict(enumerate(makers))
        while waiting:
            first = next(iter(waiting))
            made[first] = self.make(waiting.pop(first))
            asked: Set[Fact] = set()
            for index, make in list(waiting.items()):
                try:
                    made[index] = make(self.world)
                    del waiting[index]
                except HostQuestion as question:
                    asked |= question.facts
            self._answer(frozenset(asked))
        return tuple(made[index] for index in sorted(made))

    def plan(self, options: PlanOptions) -> Plan:
        """Plan everything that the manifests place on this host."""
        planners = find_planners(self.desired, self.world.host, options)
        return to_plan(self.make_all(planners), self.world, options)

    def _answer(self, facts: Iterable[Fact]) -> None:
        """Read the facts, and before them what an answer asks for itself."""
        waiting = _group(facts)
        while waiting:
            section, asked = waiting[-1]
            try:
                world = ANSWERS[section](self, asked)
            except HostQuestion as question:
                waiting += _group(question.facts)
                continue
            known = (world.known or frozenset()) | asked
            self.world = replace(world, known=known, images=replace(world.images, known=known))
            waiting.pop()


def _group(facts: Iterable[Fact]) -> List[Tuple[Section, FrozenSet[Fact]]]:
    """Return the facts by their section, those that are to be read first last."""
    found: Dict[Section, Set[Fact]] = {section: set() for section in ANSWERS}
    for fact in facts:
        found[fact.section].add(fact)
    return [(section, frozenset(some)) for section, some in reversed(found.items()) if some]


def observe(
    host: Host,
    desired: Desired,
    views: Optional[Views] = None,
    background: Background = NO_BACKGROUND,
    list_domains: Optional[Callable[[], Views]] = None,
) -> ObservedHost:
    """Read the domains that the manifests name; the rest is read as plans ask for it.

    `views` are these domains, where they were read already; without it every domain is read at
    once, by `list_domains` where another thread does. `background` knows of machines that are gone.
    """
    daemons = _read_daemons(host, desired)
    try:
        found = (list_domains or host.domains.list_domains)() if views is None else views
    except TransientError as error:
        return ObservedHost(host, desired, _observe_unreached(desired, daemons, error), {})
    named = _named(desired)
    readings = {name: understand(view) for name, view in found.items() if name in named}
    served = desired.with_kind(MACHINE, find_served(desired, daemons))
    observation = begin(host, desired, readings, found if views is None else None)
    name = observation.world.host
    lost = find_lost(_find_gone(served, readings, name), background)
    new = [
        machine
        for machine in served.machines
        if machine.name not in readings and is_placed_here(machine, name)
    ]
    observation.world = replace(
        observation.world,
        daemons=daemons,
        lost=lost,
        elsewhere=background.find_elsewhere(new, lost, desired.hosts, name),
        others_asked=background.asks_others(desired.hosts, name),
        busy=observation.make(lambda world: find_busy(host, world)),
        observed=observe_objects(host, desired, observation.world),
    )
    return observation


def _read_daemons(host: Host, desired: Desired) -> Union[DaemonsView, Unknown]:
    """Inspect libvirt's daemons if a manifest says anything about them."""
    is_asked = any(manifest.mode for manifest in desired.hosts) or any(
        machine.required_daemons for machine in desired.machines
    )
    return host.units.observe() if is_asked else World("", "").daemons


def begin(
    host: Host, desired: Desired, domains: Readings, views: Optional[Views] = None
) -> ObservedHost:
    """Begin with these domains, and with nothing else known. `views` are all of the host."""
    world = World(
        host.domains.host,
        host.domains.uri,
        domains,
        images=Images(known=frozenset()),
        known=frozenset(),
    )
    return ObservedHost(host, desired, world, views)


def _find_gone(desired: Desired, readings: Readings, host: str) -> Iterator[str]:
    """Yield the machines of this host of which libvirt stores no definition."""
    for machine in desired.machines:
        reading = readings.get(machine.name)
        stored = isinstance(reading, Unknown) or (reading and reading.view.persistent)
        if not stored and is_placed_here(machine, host):
            yield machine.name


def _observe_unreached(
    desired: Desired, daemons: Union[DaemonsView, Unknown], error: TransientError
) -> World:
    """Return the world without libvirt, if its daemons say more; raise the error if they do not."""
    if isinstance(daemons, Unknown):
        raise error
    all_served = len(find_served(desired, daemons)) == len(desired.machines)
    if all_served and not any(host.mode for host in desired.hosts):
        raise error
    domains = dict.fromkeys(_named(desired), Unknown(str(error)))
    return World(daemons.host, daemons.uri, domains, daemons=daemons)


def _named(desired: Desired) -> FrozenSet[str]:
    """Return the domains that manifests name: as machine, as template, or to be cloned."""
    templates = (template.domain for template in desired.templates if template.domain is not None)
    disks = (disk for manifest in desired.machines for disk in manifest.machine.disks or ())
    origins = (disk.origin.machine for disk in disks if disk.origin is not None)
    return frozenset(machine.name for machine in desired.machines).union(templates, origins)


def find_busy(host: Host, world: World) -> Mapping[Key, str]:
    """Return the objects that another run works on, each with a line that says so.

    A lock is seen on this machine only. Of a run elsewhere the mark on the domain tells, as long as
    it makes volumes.
    """
    held = host.locks.list_held(name_place(world.host, world.uri))
    busy: Dict[Key, str] = {key: describe_busy(key.name, who) for key, who in held.items()}
    for name, reading in world.domains.items():
        line = _find_maker(host, name, reading, world)
        if line:
            busy.setdefault(Key(MACHINE, name), line)
    return busy


def _find_maker(host: Host, name: str, reading: Union[Reading, Unknown], world: World) -> str:
    owner = reading.owner if isinstance(reading, Reading) else None
    if owner is None or not owner.creating or owner.worker is None or owner.name != name:
        return ""
    if owner.worker.identity == host.locks.me.identity:
        return ""  # under way, or given up by us: the lock says which
    alive = host.locks.is_alive(owner.worker)
    if alive is None:
        last = _find_last_sign(owner, world)
        return (
            describe_unseen(name, owner.worker, last) if host.locks.me.since < last + QUIET else ""
        )
    return describe_busy(name, owner.worker) if alive else ""


def _find_last_sign(owner: Owner, world: World) -> float:
    """Return when one of the unfinished volumes grew last, or their making began."""
    times: List[float] = [owner.worker.since if owner.worker else 0.0]
    unfinished = (volume for volume in all_volumes(world) if volume.path in owner.creating)
    times.extend(_seconds(volume.changed_at) for volume in unfinished)
    return max(times)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
