"""The loop: whatever happens names an object, and a pass over that object reads everything anew.

Puts the services together and knows the order; what to do to a machine is the plan's, how to do it
the executor's. Manifests, libvirt's news and timers come in by the methods below, from any thread.
"""

from __future__ import annotations

import threading
from typing import Dict, FrozenSet, Iterable, Mapping, Optional, Tuple, Union

from reconciler.control.change_recorder import DaemonRecorder
from reconciler.control.guest_watch import GuestWatch
from reconciler.control.journal_reporter import TroubleReporter
from reconciler.control.ledger import Ledger
from reconciler.control.one_pass import ObjectPass
from reconciler.control.prune import Prune
from reconciler.control.queue import Lanes, WorkQueue
from reconciler.control.service_ports import HostSigns
from reconciler.control.state import LoopServices, LoopState
from reconciler.control.worker import PROBE, ObjectWorker
from reconciler.core import events, metrics
from reconciler.core.conditions import READY, RECONCILING, describe_unreached, fingerprint
from reconciler.core.events import Event
from reconciler.core.frozen import replace
from reconciler.core.key import Key
from reconciler.core.manifest import Manifest
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.records import SourceRecord
from reconciler.core.settings import Settings
from reconciler.core.world import Unknown
from reconciler.errors import ReconcilerError, RefusedError, TransientError
from reconciler.kinds.api import (
    ObjectKind,
    Sighting,
    Surroundings,
    find_announced,
    find_kind,
    list_reconciled,
)


class Loop:
    """One host's loop. Implements `Listener` of libvirt's news."""

    def __init__(self, services: LoopServices, settings: Settings) -> None:
        """Begin with nothing known: nothing is done before there are manifests."""
        ledger = Ledger(services.store, services.journal)
        ledger.change_source(lambda source: replace(source, configuration="", restart_needed=()))
        self.shared = LoopState(services, ledger, suspended=frozenset(services.store.suspended()))
        self.queue: WorkQueue[Key] = WorkQueue(services.clock.now)
        recorder = DaemonRecorder(services)
        passes = ObjectPass(
            around=Surroundings(
                host=services.host,
                memory=recorder,
                wall=services.clock.wall,
                connect=services.connect,
                find_inside=lambda key: self.guests.find_view(key),
            ),
            clock=services.clock,
            attempts=self.shared.attempts,
            journal=services.journal,
            meter=services.meter,
            chance=services.chance,
            recorder=recorder,
            is_suspended=self._is_suspended,
            moved=self.shared.move,
        )
        self.prune = Prune(self.shared, settings.prune, settings.resync)
        self.work = ObjectWorker(
            shared=self.shared,
            passes=passes,
            prune=self.prune,
            queue=self.queue,
            probed=services.clock.now(),
        )
        self.lanes: Lanes[Key] = Lanes(self.queue, self.work, settings.lanes, services.clock.now)
        self.guests = GuestWatch(self.shared)
        self.shared.request_pass = self._request_pass
        self.resync_due = threading.Event()
        self._signs: Optional[HostSigns] = None
        self._confirmed = services.store.confirmed_prune()
        self._orders = TroubleReporter(services.journal, "suspensions and orders stay as they were")

    def publish(self, snapshot: ManifestSet) -> None:
        """Take new manifests, and look at what they change."""
        changed = self.shared.wanted.replace(snapshot)
        self.shared.services.meter.set(metrics.SOURCE_CHANGED, self.shared.services.clock.wall())
        self._record_source(snapshot)
        self._note_placements()
        self.look_at(changed)
        self.guests.follow()
        self.guests.wake(changed)

    def _note_placements(self) -> None:
        """Remember what is placed on other hosts, should it be moved here one day."""
        placed: Dict[Key, str] = {}
        for key, manifest in self.shared.wanted.in_force.reconciled.items():
            if manifest.host is not None and not self._is_here(key, manifest):
                placed[key] = manifest.host
        self.shared.ledger.place(placed)

    def _is_here(self, key: Key, manifest: Manifest) -> bool:
        """Whether an object is this host's; also where that is not known yet."""
        kind = find_kind(key.kind)
        if self.shared.find_unreached(kind):
            return True
        try:
            host = self.shared.find_host(kind)
        except ReconcilerError:
            return True
        return isinstance(host, Unknown) or kind.is_here(manifest, host)

    def trouble(self, error: ReconcilerError) -> None:
        """Remember why newer manifests are not in force; what is in force stays."""
        refused, text = isinstance(error, RefusedError), str(error)
        self.shared.ledger.change_source(
            lambda source: replace(source, refused=text) if refused else replace(source, error=text)
        )
        kind = events.SOURCE_REFUSED if refused else events.SOURCE_FAILED
        self._tell(kind, str(error))
        self.shared.services.meter.count(metrics.SOURCE_ERRORS)

    def recovered(self) -> None:
        """Forget what was wrong with newer manifests."""
        self.shared.ledger.change_source(lambda source: replace(source, error="", refused=""))

    def watching(self, how: str) -> None:
        """Remember how files are watched."""
        self.shared.ledger.change_source(lambda source: replace(source, watching=how))

    def configured(self, refused: str, restart_needed: Tuple[str, ...]) -> None:
        """Remember why a reload was refused, or what to inspect waits for a restart; and say it."""
        self.shared.ledger.change_source(
            lambda source: replace(source, configuration=refused, restart_needed=restart_needed)
        )
        if refused:
            text = f"configuration not reloaded, the former one stays in force: {refused}"
            self._tell(events.FAILED, f"{text}; see: virt-reconciler config check")
            return
        waiting = ", ".join(restart_needed)
        how = f"; restart needed for: {waiting} (systemctl restart virt-reconciler)"
        self._tell(events.RELOADED, f"configuration reloaded{how if waiting else ''}")

    def domain_changed(self, name: str) -> None:
        """Look at the domain, and at whom it may have kept from being made."""
        in_force, keys = self.shared.wanted.in_force, find_announced("domain", name)
        self.look_at(keys & in_force.objects.keys())
        self._retry(in_force.find_users(*keys) & self._unready())

    def guest_changed(self, name: str) -> None:
        """Look into the guest, if it is one of ours."""
        self.guests.wake(find_announced("domain", name))

    def domain_left(self, name: str) -> None:
        """Take note that the machine was migrated to another host, where it may run."""
        now = self.shared.services.clock.now()
        self.shared.left.update(dict.fromkeys(find_announced("domain", name), now))

    def surroundings_changed(self, kind: str, name: str) -> None:
        """Look at the objects that use it, and try again those that wait for something.

        An image or a medium may lie in a pool that the manifest does not name.
        """
        users = self.shared.wanted.in_force.find_users(*find_announced(kind, name))
        for key in users:
            self.shared.attempts.soil(key)
        self._retry((users & self._unready()) | self._find_waiting())
        self.look_at(users)

    def look_around(self) -> None:
        """Try again what waits for a bridge or a mount that has come; libvirt announces neither."""
        former, now = self._signs, self.shared.services.signs()
        self._signs = now
        if former is None or former == now:
            return
        waiting = self._find_waiting()
        if now.mounts == former.mounts:
            links = now.links - former.links
            bridges = [key for name in links for key in find_announced("bridge", name)]
            waiting &= self.shared.wanted.in_force.find_users(*bridges)
        self._retry(waiting)

    def reached(self, driver: str) -> None:
        """Have everything read anew: what happened meanwhile is unknown."""
        self.shared.unreached.pop(driver, None)
        self.shared.hosts = {}
        self.shared.services.meter.set(metrics.LIBVIRT_CONNECTED, 1, driver=driver)
        self.shared.services.meter.count(metrics.RECONNECTS, driver=driver)
        self._tell(events.CONNECTED, f"connected to libvirt ({driver})")
        self._record_reach()
        self._note_placements()
        self._retry(self._unready())
        self.guests.wake_all()
        self.resync_due.set()

    def lost(self, driver: str, reason: str) -> None:
        """Do nothing that needs the driver until it is back."""
        self.shared.unreached[driver] = reason
        self.shared.services.meter.set(metrics.LIBVIRT_CONNECTED, 0, driver=driver)
        self._tell(events.DISCONNECTED, f"libvirt's {driver} driver: {reason}")
        self._record_reach()
        # It may be a daemon of this host that is missing.
        self.look_at(
            key for key in self.shared.wanted.in_force.reconciled if not find_kind(key.kind).drivers
        )

    def _record_reach(self) -> None:
        # Described at its turn: several drivers come back at once, and the last says how it is.
        self.shared.ledger.change_source(
            lambda source: replace(source, libvirt=describe_unreached(dict(self.shared.unreached)))
        )

    def reread_orders(self) -> None:
        """Do what a person has ordered: resume, suspend, try again, prune what is confirmed.

        What was ordered before holds while the orders cannot be read.
        """
        self._orders.run(self._reread_orders)

    def _reread_orders(self) -> None:
        former = self.shared.suspended
        self.shared.suspended = frozenset(self.shared.services.store.suspended())
        self.retry((former ^ self.shared.suspended) | self.shared.services.store.take_retries())
        confirmed = self.shared.services.store.confirmed_prune()
        if confirmed != self._confirmed:
            self._confirmed = confirmed
            self.resync_due.set()

    def _is_suspended(self, key: Key) -> bool:
        """Whether an object is to be left alone by now; taken up again as if it had been always."""
        if key not in self.shared.services.store.suspended():
            return False
        self.shared.suspended |= {key}
        return True

    def retry_all(self) -> None:
        """Try everything as if for the first time: a person asked for it."""
        self.retry(self.shared.wanted.in_force.reconciled)

    def retry(self, keys: Iterable[Key]) -> None:
        """Try objects as if for the first time: a person asked for it."""
        records = self.shared.ledger.all()
        self.shared.retried.update(dict.fromkeys(keys, self.shared.services.clock.wall()))
        for key in keys:
            self.shared.left.pop(key, None)
            if key in records:
                self.shared.ledger.put(replace(records[key], failures=0, migrated=False))
        self._retry(keys)
        self.guests.wake(keys)

    def resync(self) -> None:
        """List every object, and look at those that are not as they were when all was well.

        Raises TransientError when something cannot be listed; nothing is pruned then.
        """
        found: Dict[Key, Union[Sighting, Unknown]] = {}
        trouble: Optional[TransientError] = None
        for kind in list_reconciled():
            try:
                found.update(self._resync(kind))
            except TransientError as error:
                trouble = error
        if trouble is not None:
            raise trouble
        self.look_at(self.prune.decide(found))
        self.shared.services.meter.set(metrics.LAST_SUCCESS, self.shared.services.clock.wall())

    def _resync(self, kind: ObjectKind) -> Mapping[Key, Union[Sighting, Unknown]]:
        in_force = self.shared.wanted.in_force
        found = kind.list_sightings(self.shared.services.host, in_force.desired)
        # What said that these are not ready may be over: a call that failed, a driver away.
        unready = frozenset(key for key in self._unready() if key.kind == kind.name)
        for key in unready:
            self.shared.attempts.hurry(key)
        self.look_at(
            key
            for key, manifest in in_force.objects.items()
            if key.kind == kind.name
            and kind.is_planned(manifest)
            and (key in unready or not self._is_clean(key, manifest, found.get(key)))
        )
        return found

    def look_at(self, keys: Iterable[Key]) -> None:
        """Have objects looked at."""
        in_force = self.shared.wanted.in_force
        for key in sorted(keys):
            if key in in_force.reconciled or key not in in_force.objects:
                self.queue.add(key)

    def _request_pass(self, key: Key) -> None:
        self.shared.attempts.soil(key)
        self.look_at({key})

    def probe(self) -> None:
        """Send a sign of life through the loop; `work.probed` tells when it came out."""
        self.queue.add(PROBE)

    def _retry(self, keys: Iterable[Key]) -> None:
        for key in sorted(keys):
            self.shared.attempts.release(key)
        self.look_at(keys)

    def _find_waiting(self) -> FrozenSet[Key]:
        """Return the objects that are tried again by themselves, later."""
        records = self.shared.ledger.all()
        return frozenset(
            key
            for key in self.shared.wanted.in_force.reconciled
            if key in records and records[key].condition(RECONCILING).holds
        )

    def _unready(self) -> FrozenSet[Key]:
        records = self.shared.ledger.all()
        return frozenset(
            key
            for key in self.shared.wanted.in_force.reconciled
            if key not in records or not records[key].condition(READY).holds
        )

    def _is_clean(
        self, key: Key, manifest: Manifest, sighting: Union[Sighting, Unknown, None]
    ) -> bool:
        if isinstance(sighting, Unknown):
            return False
        parts = None if sighting is None else sighting.parts
        return self.shared.attempts.is_clean(key, fingerprint(manifest.generation, parts))

    def _record_source(self, snapshot: ManifestSet) -> None:
        ledger = self.shared.ledger
        former = ledger.source
        same = snapshot.identity == former.identity
        lines = tuple(str(problem) for problem in snapshot.problems)
        since = former.since if same else self.shared.services.clock.wall()
        ledger.change_source(
            lambda source: SourceRecord(
                snapshot.revision,
                snapshot.identity,
                since,
                problems=lines,
                watching=source.watching,
                libvirt=source.libvirt,
                configuration=source.configuration,
                restart_needed=source.restart_needed,
                prune_blocked=source.prune_blocked if same else "",
                prune_held=source.prune_held if same else (),
            )
        )
        for line in lines:
            if line not in former.problems:
                self._tell(events.INVALID, line)
        if not same:
            self._tell(events.REVISION, f"now applying {_describe(snapshot)}")

    def _tell(self, kind: events.EventKind, text: str) -> None:
        revision = self.shared.ledger.source.revision
        self.shared.services.journal.tell(Event(kind, text, revision=revision))


def _describe(snapshot: ManifestSet) -> str:
    return f"commit {snapshot.revision}" if snapshot.revision else f"files {snapshot.identity}"
