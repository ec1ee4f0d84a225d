"""What a follower is given, in memory: a source, a watcher, and somebody who listens."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Callable, List, Optional, Tuple, Union

from reconciler.control.manifest_follower import LookTimer, ManifestFollower, ManifestListener
from reconciler.core.events import Event
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import ManifestSet
from reconciler.errors import ReconcilerError


def snapshot(identity: str) -> ManifestSet:
    """Return a snapshot that is told apart by its identity alone."""
    return ManifestSet(identity, Desired())


class Script:
    """A source that says what it is told to, again and again."""

    def __init__(self, says: Union[str, ReconcilerError], remembers: Optional[str] = None) -> None:
        self.says = says
        self.remembers = remembers
        self.watched: Tuple[str, ...] = ("/here",)
        self.during: Callable[[], None] = lambda: None
        self.looks = 0

    def take(self) -> ManifestSet:
        self.looks += 1
        self.during()
        if isinstance(self.says, ReconcilerError):
            raise self.says
        return snapshot(self.says)

    def recall(self) -> Optional[ManifestSet]:
        return None if self.remembers is None else snapshot(self.remembers)

    def places(self) -> Tuple[str, ...]:
        return self.watched


class Deaf:
    """A watcher that hears nothing unless told."""

    def __init__(self, how: str = "inotify") -> None:
        self.how = how
        self.armed = True
        self.watched: List[Tuple[str, ...]] = []
        self.hint: Callable[[], None] = lambda: None
        self.is_stopped = False

    def watch(self, places: Tuple[str, ...], hint: Callable[[], None]) -> str:
        self.watched.append(places)
        self.hint = hint
        self.armed = self.how == "inotify"
        return self.how

    def is_armed(self) -> bool:
        return self.armed

    def stop(self) -> None:
        self.is_stopped = True


class Ears:
    """A listener, a journal and a meter that remember everything in order."""

    def __init__(self) -> None:
        self.heard: List[str] = []
        self.told: List[str] = []
        self.counts: Counter[str] = Counter()
        self.snapshots: List[ManifestSet] = []
        self.lock = threading.Lock()
        self.on_publish: Callable[[], None] = lambda: None

    def listener(self) -> ManifestListener:
        return ManifestListener(
            self.publish,
            lambda error: self.hear(f"trouble: {error}"),
            lambda: self.hear("recovered"),
            lambda how: self.hear(f"watching: {how}"),
        )

    def publish(self, one: ManifestSet) -> None:
        with self.lock:
            self.snapshots.append(one)
        self.hear(one.identity)
        self.on_publish()

    def hear(self, text: str) -> None:
        with self.lock:
            self.heard.append(text)

    def tell(self, event: Event) -> None:
        self.told.append(f"{event.kind.name}: {event.message}")

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self.counts[name] += int(amount)

    def set(self, name: str, value: float, **labels: str) -> None: ...

    def replace(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, **labels: str) -> None: ...

    def published(self) -> List[str]:
        with self.lock:
            return [one.identity for one in self.snapshots]


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A follower among fakes, whose looks are called one by one."""

    def __init__(self, source: Script, watcher: Optional[Deaf] = None) -> None:
        self.source = source
        self.watcher = watcher or Deaf()
        self.ears = Ears()
        self.time = Time()
        self.pace = LookTimer(30.0, self.time, grace=0.01, chance=lambda: 0.5)
        self.follower = ManifestFollower(
            source, self.watcher, self.ears.listener(), self.ears, self.ears, self.pace
        )
