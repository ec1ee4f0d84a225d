"""The loop: whatever happens names an object, and a pass over that object reads everything anew.

Puts the parts together and knows the order; what to do to a machine is the plan's, how to do it
the executor's. Manifests, libvirt's news and timers come in by the methods below, from any thread.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import FrozenSet, Iterable, Mapping, Optional, Tuple, Union

from reconciler.control.change_recorder import DaemonRecorder
from reconciler.control.journal_reporter import TroubleReporter
from reconciler.control.ledger import Ledger
from reconciler.control.one_pass import ObjectPass
from reconciler.control.pruning import Prune
from reconciler.control.queue import Lanes, WorkQueue
from reconciler.control.service_ports import HostSigns
from reconciler.control.state import QEMU, LoopServices, LoopState
from reconciler.control.worker import HOST, MACHINE, PROBE, Key, ObjectWorker
from reconciler.core import events, metrics
from reconciler.core.conditions import READY, RECONCILING, describe_unreached, fingerprint
from reconciler.core.events import Event
from reconciler.core.manifest import MachineManifest
from reconciler.core.manifest_sets import ManifestSet
from reconciler.core.records import SourceRecord
from reconciler.core.settings import Settings
from reconciler.core.world import DomainView, Unknown
from reconciler.errors import ReconcilerError, RefusedError
from reconciler.kinds.host.host_pass import HostPass
from reconciler.kinds.machine.planner import is_placed_here

Views = Mapping[str, Union[DomainView, Unknown]]


class Loop:
    """One host's loop. Implements `Listener` of libvirt's news."""

    def __init__(self, parts: LoopServices, settings: Settings) -> None:
        """Begin with nothing known: nothing is done before there are manifests."""
        ledger = Ledger(parts.store, parts.journal)
        ledger.change_source(lambda one: replace(one, configuration="", restart_needed=()))
        self.shared = LoopState(parts, ledger, suspended=frozenset(parts.store.suspended()))
        self.queue: WorkQueue[Key] = WorkQueue()
        attempts = self.shared.attempts
        passes = ObjectPass(
            parts.host,
            parts.clock,
            attempts,
            parts.journal,
            parts.meter,
            parts.chance,
            DaemonRecorder(parts),
            self._is_suspended,
            self.shared.move,
            parts.connect,
        )
        self.prune = Prune(self.shared, settings.prune, settings.resync)
        host = HostPass(self.shared)
        self.work = ObjectWorker(
            self.shared, passes, self.prune, host, self.queue, time.monotonic()
        )
        self.lanes: Lanes[Key] = Lanes(self.queue, self.work, settings.lanes)
        self.resync_due = threading.Event()
        self._signs: Optional[HostSigns] = None
        self._confirmed = parts.store.confirmed_prune()
        self._orders = TroubleReporter(parts.journal, "suspensions and orders stay as they were")

    def publish(self, snapshot: ManifestSet) -> None:
        """Take new manifests, and look at what they change."""
        changed = self.shared.wanted.replace(snapshot)
        self.shared.parts.meter.set(metrics.SOURCE_CHANGED, self.shared.parts.wall())
        self._record_source(snapshot)
        self._note_placements()
        self.look_at_host()
        self.look_at(changed)

    def _note_placements(self) -> None:
        """Remember which machines are placed on other hosts, should they be moved here one day."""
        if QEMU in self.shared.unreached:
            return  # which host this is, is not known yet
        try:
            here = self.shared.find_host()
        except ReconcilerError:
            return
        machines = self.shared.wanted.in_force.machines
        self.shared.ledger.place(
            {
                name: machine.host
                for name, machine in machines.items()
                if machine.host is not None and not is_placed_here(machine, here)
            }
        )

    def trouble(self, error: ReconcilerError) -> None:
        """Remember why newer manifests are not in force; what is in force stays."""
        refused, text = isinstance(error, RefusedError), str(error)
        self.shared.ledger.change_source(
            lambda source: replace(source, refused=text) if refused else replace(source, error=text)
        )
        kind = events.SOURCE_REFUSED if refused else events.SOURCE_FAILED
        self._tell(kind, str(error))
        self.shared.parts.meter.count(metrics.SOURCE_ERRORS)

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
        if name in self.shared.wanted.in_force.machines:
            self.queue.add((MACHINE, name))
        self._retry(self.shared.wanted.made_from(name) & self._unready())

    def domain_left(self, name: str) -> None:
        """Take note that the machine was migrated to another host, where it may run."""
        self.shared.left[name] = time.monotonic()

    def surroundings_changed(self, kind: str, name: str) -> None:
        """Look at the machines that use it, and try again those that wait for something.

        An image or a medium may lie in a pool that the manifest does not name.
        """
        users = self.shared.wanted.users_of(kind, name)
        for user in users:
            self.shared.attempts.soil(user)
        self._retry((users & self._unready()) | self._find_waiting())
        self.look_at(users)

    def look_around(self) -> None:
        """Try again what waits for a bridge or a mount that has come; libvirt announces neither."""
        former, now = self._signs, self.shared.parts.signs()
        self._signs = now
        if former is None or former == now:
            return
        waiting = self._find_waiting()
        if now.mounts == former.mounts:
            waiting &= self.shared.wanted.users_of("bridge", *(now.links - former.links))
        self._retry(waiting)

    def reached(self, driver: str) -> None:
        """Have everything read anew: what happened meanwhile is unknown."""
        self.shared.unreached.pop(driver, None)
        self.shared.host = None
        self.shared.parts.meter.set(metrics.LIBVIRT_CONNECTED, 1, driver=driver)
        self.shared.parts.meter.count(metrics.RECONNECTS, driver=driver)
        self._tell(events.CONNECTED, f"connected to libvirt ({driver})")
        self._record_reach()
        self._note_placements()
        self._retry(self._unready())
        self.resync_due.set()

    def lost(self, driver: str, reason: str) -> None:
        """Do nothing that needs the driver until it is back."""
        self.shared.unreached[driver] = reason
        self.shared.parts.meter.set(metrics.LIBVIRT_CONNECTED, 0, driver=driver)
        self._tell(events.DISCONNECTED, f"libvirt's {driver} driver: {reason}")
        self._record_reach()
        self.look_at_host()  # it may be its daemon that is missing

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
        self.shared.suspended = frozenset(self.shared.parts.store.suspended())
        self.retry((former ^ self.shared.suspended) | self.shared.parts.store.take_retries())
        confirmed = self.shared.parts.store.confirmed_prune()
        if confirmed != self._confirmed:
            self._confirmed = confirmed
            self.resync_due.set()

    def _is_suspended(self, name: str) -> bool:
        """Whether a machine is to be left alone by now; taken up again as if it had been always."""
        if name not in self.shared.parts.store.suspended():
            return False
        self.shared.suspended |= {name}
        return True

    def retry_all(self) -> None:
        """Try everything as if for the first time: a person asked for it."""
        self.retry(self.shared.wanted.in_force.machines)

    def retry(self, names: Iterable[str]) -> None:
        """Try machines as if for the first time: a person asked for it."""
        records = self.shared.ledger.all()
        for name in names:
            self.shared.left.pop(name, None)
            if name in records:
                self.shared.ledger.put(replace(records[name], failures=0, migrated=False))
        self._retry(names)

    def resync(self) -> None:
        """Read every domain, and look at those that are not as they were when all was well.

        Raises TransientError when libvirt cannot be read; nothing is concluded then.
        """
        self.look_at_host()
        machines = self.shared.wanted.in_force.machines
        views: Views = self.shared.parts.host.domains.list_domains()
        unready = self._unready()  # as what said so may be over: a call that failed, a driver away
        for name in unready:
            self.shared.attempts.hurry(name)
        self.look_at(
            name
            for name, machine in machines.items()
            if name in unready or not self._is_clean(machine, views.get(name))
        )
        self.look_at(self.prune.decide(views))
        self.shared.parts.meter.set(metrics.LAST_SUCCESS, self.shared.parts.wall())

    def look_at_host(self) -> None:
        """Have the host's daemons looked at, if a manifest says anything about them."""
        if any(host.mode for host in self.shared.wanted.in_force.hosts):
            self.queue.add(HOST)

    def look_at(self, names: Iterable[str]) -> None:
        """Have machines looked at."""
        for name in sorted(names):
            self.queue.add((MACHINE, name))

    def probe(self) -> None:
        """Send a sign of life through the loop; `work.probed` tells when it came out."""
        self.queue.add(PROBE)

    def _retry(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.shared.attempts.release(name)
            self.queue.add((MACHINE, name))

    def _find_waiting(self) -> FrozenSet[str]:
        """Return the machines that are tried again by themselves, later."""
        records = self.shared.ledger.all()
        return frozenset(
            name
            for name in self.shared.wanted.in_force.machines
            if name in records and records[name].condition(RECONCILING).holds
        )

    def _unready(self) -> FrozenSet[str]:
        records = self.shared.ledger.all()
        return frozenset(
            name
            for name in self.shared.wanted.in_force.machines
            if name not in records or not records[name].condition(READY).holds
        )

    def _is_clean(self, manifest: MachineManifest, view: Union[DomainView, Unknown, None]) -> bool:
        if isinstance(view, Unknown):
            return False
        seen = fingerprint(manifest.generation, view)
        return self.shared.attempts.is_clean(manifest.name, seen)

    def _record_source(self, snapshot: ManifestSet) -> None:
        ledger = self.shared.ledger
        former = ledger.source
        same = snapshot.identity == former.identity
        lines = tuple(str(problem) for problem in snapshot.problems)
        since = former.since if same else self.shared.parts.wall()
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
        self.shared.parts.journal.tell(Event(kind, text, revision=revision))


def _describe(snapshot: ManifestSet) -> str:
    return f"commit {snapshot.revision}" if snapshot.revision else f"files {snapshot.identity}"
