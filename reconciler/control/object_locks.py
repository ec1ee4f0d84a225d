"""One run at a time works on an object: take its lock, and see who else is at work."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Mapping, Union

from reconciler.control.ports import Clock, Host, Key
from reconciler.core.names import QUIET, Owner, describe_busy, describe_unseen, name_place
from reconciler.core.world import Reading, Unknown, World
from reconciler.errors import BusyError
from reconciler.kinds.machine.planning.images import all_volumes

LIMIT = 5.0  # seconds to wait for another run that is about to end
POLL = 0.1  # seconds
MACHINE = "VirtualMachine"


@contextmanager
def holding(host: Host, key: Key, clock: Clock) -> Iterator[None]:
    """Hold the lock of an object. Raises BusyError if another run keeps it for longer."""
    release = _take(host, key, clock)
    try:
        yield
    finally:
        release()


def _take(host: Host, key: Key, clock: Clock) -> Callable[[], None]:
    place = name_place(host.domains.host, host.domains.uri)
    deadline = clock.now() + LIMIT
    while True:
        try:
            return host.locks.take(place, key)
        except BusyError:
            if clock.now() >= deadline:
                raise
        clock.sleep(POLL)


def find_busy(host: Host, world: World) -> Mapping[Key, str]:
    """Return the objects that another run works on, each with a line that says so.

    A lock is seen on this machine only. Of a run elsewhere the mark on the domain tells, as long as
    it makes volumes.
    """
    held = host.locks.list_held(name_place(world.host, world.uri))
    busy: Dict[Key, str] = {key: describe_busy(key[1], who) for key, who in held.items()}
    for name, reading in world.domains.items():
        line = _find_maker(host, name, reading, world)
        if line:
            busy.setdefault((MACHINE, name), line)
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
        return describe_unseen(name, owner.worker, last) if time.time() < last + QUIET else ""
    return describe_busy(name, owner.worker) if alive else ""


def _find_last_sign(owner: Owner, world: World) -> float:
    """Return when one of the unfinished volumes grew last, or their making began."""
    times: List[float] = [owner.worker.since if owner.worker else 0.0]
    unfinished = (volume for volume in all_volumes(world) if volume.path in owner.creating)
    times.extend(_seconds(one.changed_at) for one in unfinished)
    return max(times)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
