"""Find what has no manifest any more, have it decided, and carry out what was decided.

`core.prune` decides what may be deleted. Nothing is concluded from a listing that failed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Union

from reconciler.control.change_recorder import DaemonRecorder
from reconciler.control.executor import Executor
from reconciler.control.journal_reporter import JournalReporter
from reconciler.control.ports import Host
from reconciler.control.state import LoopState, PassStatus
from reconciler.core import events, metrics
from reconciler.core.conditions import (
    Again,
    Done,
    Stalled,
    failed,
    find_delay,
    kind_of,
    unknown,
)
from reconciler.core.events import Event
from reconciler.core.frozen import replace
from reconciler.core.key import Key, show_key
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import InForce, ManifestSet
from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.prune import Deletion, KeptObject, KnownObject, Pruning, Remnant, decide
from reconciler.core.records import Record
from reconciler.core.settings import PruneRails
from reconciler.core.world import Unknown
from reconciler.errors import NotFoundError, ReconcilerError, RefusedError, TransientError
from reconciler.kinds.api import Sighting, find_kind

Sightings = Mapping[Key, Union[Sighting, Unknown]]


@dataclass
class Prune:
    """The end of objects. `doomed` are those that are to be deleted now, by key.

    Manifests must have been in force for `settle` seconds before anything goes for want of one.
    What was decided holds for the manifests that were `weighed` then, and for no others.
    """

    shared: LoopState
    rails: PruneRails
    settle: float
    doomed: Dict[Key, Deletion] = field(default_factory=dict)
    weighed: Optional[ManifestSet] = None

    def decide(self, found: Sightings) -> FrozenSet[Key]:
        """Decide about what has no manifest, and return the keys to be deleted now.

        `found` is a complete listing of the host, made after the manifests were read.
        """
        snapshot = self.shared.wanted.snapshot
        self.doomed, self.weighed = {}, snapshot
        if snapshot is None:
            return frozenset()
        if not self._find_gone(found):
            self._block(Pruning())
            return frozenset()
        pruning = decide(
            KnownObject(
                records=self.shared.ledger.all(),
                snapshot=snapshot,
                found={key: _find_remnant(key, sighting) for key, sighting in found.items()},
                settled=self.shared.services.clock.now() - self.shared.wanted.since >= self.settle,
                confirmed=self.shared.services.store.confirmed_prune(),
                suspended=self.shared.suspended,
            ),
            self.rails,
        )
        self._write_down(pruning)
        self.doomed = {deletion.key: deletion for deletion in pruning.deletions}
        return frozenset(self.doomed)

    def delete(self, key: Key, record: Record) -> PassStatus:
        """Delete a machine that is doomed; nothing happens to any other."""
        doomed = self.doomed.get(key)
        if doomed is None or self._find_reprieve(key):
            return PassStatus(Done())
        desired = _list_referred(self.shared.wanted.in_force)
        kind, host = find_kind(key.kind), self.shared.services.host
        try:
            action = kind.plan_delete(host, desired, key, doomed.uuid)
        except NotFoundError:
            return self._forget(key)
        if action.action is ActionKind.FAILED:
            if action.reason != record.last_error:
                event = Event(events.FAILED, f"to be deleted: {action.reason}", key, "delete")
                self.shared.services.journal.tell(event)
            again = self._judge(TransientError(action.reason), record)
            result = again if action.transient else Stalled(action.reason)
            return _describe_failure(record, result)
        if action.action is not ActionKind.DELETE:
            return PassStatus(Done())
        return self._carry_out(key, record, desired, action)

    def _carry_out(self, key: Key, record: Record, desired: Desired, action: Action) -> PassStatus:
        services = self.shared.services
        revision = self.shared.wanted.in_force.revision
        telling = JournalReporter(
            services.journal, services.meter, revision, drift=False, moved=self.shared.move
        )
        telling.last_error = record.last_error
        recording = DaemonRecorder(services).on(telling, revision)

        def refuse() -> None:
            reprieve = self._find_reprieve(key)
            if reprieve:
                raise RefusedError(f"not deleted: {reprieve}")

        executor = Executor(services.host, desired, services.clock, lambda _: recording)
        outcome = executor.carry_out(action, refuse=refuse)
        if outcome.cause is None:
            services.journal.tell(
                Event(events.PRUNED, "deleted: its manifest is gone", key, "delete")
            )
            return self._forget(key)
        return _describe_failure(record, self._judge(outcome.cause, record))

    def _find_reprieve(self, key: Key) -> str:
        """Return why what was decided holds no more, if it does not; the next resync decides anew.

        Deleting is tried again for as long as it takes, and a guest may need hours to shut down:
        meanwhile the manifest can come back, or a person say that the machine is to be left alone.
        """
        if self.shared.wanted.snapshot is not self.weighed:
            return "the manifests have changed"
        return "it was suspended" if key in self.shared.services.store.suspended() else ""

    def _judge(self, cause: ReconcilerError, record: Record) -> Union[Again, Stalled]:
        self.shared.services.meter.count(metrics.ERRORS, kind=kind_of(cause))
        if isinstance(cause, TransientError):
            chance = self.shared.services.chance()
            return Again(str(cause), find_delay(record.failures + 1, chance))
        return Stalled(str(cause))  # and decided anew at the next resync

    def _forget(self, key: Key) -> PassStatus:
        self.doomed.pop(key, None)
        return PassStatus(Done(), is_gone=True)

    def _find_gone(self, found: Sightings) -> FrozenSet[Key]:
        """Return what may be ours and has no manifest; cheap, as there is seldom any."""
        objects = self.shared.wanted.in_force.objects
        left = {key: sighting for key, sighting in found.items() if key not in objects}
        marked = {key for key, sighting in left.items() if _find_remnant(key, sighting) is not None}
        return frozenset(marked | (self.shared.ledger.all().keys() - objects.keys()))

    def _write_down(self, pruning: Pruning) -> None:
        for key in pruning.absent:
            self.shared.forget(key)
        for kept in pruning.left:
            self._leave(kept)
        for waiting in pruning.held:
            reason = "its manifest is gone: its deletion waits"
            self._leave(
                KeptObject(waiting.key, f"{reason} for a person" if pruning.blocked else reason)
            )
        self._block(pruning)

    def _leave(self, kept: KeptObject) -> None:
        record = self.shared.ledger.get(kept.key)
        self.shared.ledger.put(
            replace(record, conditions=unknown(kept.reason).conditions(), last_error="", problem="")
        )

    def _block(self, pruning: Pruning) -> None:
        """Keep what is held back where the verb `prune` finds it; tell why, once."""
        former, why = self.shared.ledger.source, pruning.blocked
        held = tuple(show_key(deletion.key) for deletion in pruning.held) if why else ()
        self.shared.ledger.change_source(
            lambda source: replace(source, prune_blocked=why, prune_held=held)
        )
        if why and why != former.prune_blocked:
            self.shared.services.journal.tell(Event(events.PRUNE_BLOCKED, why))


def _describe_failure(record: Record, result: Union[Again, Stalled]) -> PassStatus:
    is_again = isinstance(result, Again)
    verdict = failed(f"to be deleted: {result.reason}", again=is_again)
    failures = record.failures + is_again
    return PassStatus(
        result,
        replace(
            record,
            conditions=verdict.conditions(),
            last_error=result.reason,
            failures=failures,
        ),
    )


def _find_remnant(
    key: Key, sighting: Union[Sighting, Unknown]
) -> Optional[Union[Remnant, Unknown]]:
    if isinstance(sighting, Unknown):
        return sighting
    return find_kind(key.kind).find_remnant(sighting)


def _list_referred(in_force: InForce) -> Desired:
    """Return what objects refer to: nothing is done to it, or it is on no host alone."""
    found = in_force.objects.items()
    return Desired(
        {
            key: manifest
            for key, manifest in found
            if key not in in_force.reconciled or _is_shared(key)
        }
    )


def _is_shared(key: Key) -> bool:
    row = find_kind(key.kind)
    return not row.is_placed and not row.comes_first


def plan_deletions(host: Host, keys: Iterable[Key]) -> Plan:
    """Plan the end of several objects, for a person to look at; those that are gone are left out.

    Raises TransientError when the host cannot be read.
    """
    actions: List[Action] = []
    for key in sorted(keys):
        with suppress(NotFoundError):
            actions.append(find_kind(key.kind).plan_delete(host, Desired(), key))
    return Plan(host.domains.host, host.domains.uri, tuple(actions))
