"""A world of a test as a host that answers what plans ask. No test is here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Callable, FrozenSet, Set, Tuple, TypeVar, Union

from reconciler.core.faults import Fact, HostQuestion, Section
from reconciler.core.images import ImageView
from reconciler.core.plan import Action
from reconciler.core.world import Facilities, PoolView, Reading, Unknown, World
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.answers import read

T = TypeVar("T")


def only(whole: World, known: FrozenSet[Fact]) -> World:
    """Return the world of which only these facts were read, and nothing else is there."""
    names = {section: set[str]() for section in Section}
    for fact in known:
        names[fact.section].add(fact.name)
    facilities = Facilities(
        whole.facilities.memory if names[Section.MEMORY] else None,
        whole.facilities.devices if names[Section.DEVICES] else None,
        {
            path: file
            for path, file in whole.facilities.files.items()
            if path in names[Section.FILE]
        },
    )
    images = whole.images
    every = bool(names[Section.IMAGES])
    views = {path: ImageView(path, is_read=False) for path in names[Section.IMAGE]}
    views.update(
        (path, view) for path, view in images.views.items() if every or path in names[Section.IMAGE]
    )
    return replace(
        whole,
        domains={name: _only(domain, known) for name, domain in whole.domains.items()},
        networks=whole.networks if names[Section.NETWORKS] else {},
        pools={
            name: pool
            for name, pool in whole.pools.items()
            if name in names[Section.POOL] or (names[Section.POOLS] and isinstance(pool, PoolView))
        },
        machines={
            name: machine
            for name, machine in whole.machines.items()
            if name in names[Section.MACHINE_TYPE]
        },
        claims=whole.claims if names[Section.CLAIMS] else {},
        images=replace(
            images,
            views=views,
            uses=images.uses if every else (),
            every=frozenset(views) if every else frozenset(),
            snapshots={
                name: snapshot
                for name, snapshot in images.snapshots.items()
                if name in names[Section.SNAPSHOTS]
            },
            known=known,
        ),
        reflinks=frozenset(
            (pool, path)
            for pool, path in whole.reflinks
            if Fact(Section.REFLINK, pool, path) in known
        ),
        free={path: one for path, one in whole.free.items() if path in names[Section.FREE]},
        facilities=facilities,
        checksums={
            template: checksum
            for template, checksum in whole.checksums.items()
            if template in names[Section.CHECKSUM]
        },
        tools={
            folder: found for folder, found in whole.tools.items() if folder in names[Section.TOOLS]
        },
        driver_media={
            place: found
            for place, found in whole.driver_media.items()
            if place in names[Section.DRIVER_MEDIA]
        },
        secrets={
            ref: one
            for ref, one in whole.secrets.items()
            if Fact(Section.SECRET, ref.source.value, ref.name) in known
        },
        known=known,
    )


def _only(reading: Union[Reading, Unknown], known: FrozenSet[Fact]) -> Union[Reading, Unknown]:
    if isinstance(reading, Unknown):
        return reading
    view = reading.view
    reads_reason = view.is_active or Fact(Section.OFF_REASON, view.name) in known
    sizes = {
        key: size
        for key, size in view.disk_sizes.items()
        if Fact(Section.SIZE, view.name, key) in known
    }
    less = replace(
        view,
        job=view.job if Fact(Section.JOB, view.name) in known else "",
        state_reason=view.state_reason if reads_reason else "",
        disk_sizes=sizes,
    )
    if sizes == view.disk_sizes:
        return replace(reading, view=less)
    sized = read(less)
    return replace(reading, view=less, persistent=sized.persistent, live=sized.live)


def make_asking(make: Callable[[World], T], whole: World) -> Tuple[T, FrozenSet[Fact]]:
    """Return what is made of a world of which nothing was read at first, and all that it asked."""
    known: Set[Fact] = set()
    while True:
        try:
            return make(only(whole, frozenset(known))), frozenset(known)
        except HostQuestion as question:
            asked = question.facts - known
        if not asked:
            raise AssertionError("it asks for what was answered already")
        known |= asked


def find_guess(make: Callable[[World], Action], whole: World) -> str:
    """Say how a plan depends on what it did not ask for; empty if it depends on nothing more.

    What it asked must be enough for the same plan; without any of that it must ask again.
    """

    def try_to(world: World) -> object:
        try:
            return make(world)
        except ReconcilerError as error:
            return f"{type(error).__name__}: {error}"

    expected = try_to(whole)
    found, known = make_asking(try_to, whole)
    if found != expected:
        return f"with all that is there: {expected}\nwith what it asks for: {found}"
    for fact in sorted(known, key=str):
        with suppress(HostQuestion):
            less = try_to(only(whole, known - {fact}))
            if less != expected:
                return f"without {fact}, with no question: {less}\nwith it: {expected}"
    return ""
