"""Find what has no manifest any more, have it decided, and carry out what was decided.

What may go is `core.loop.prune`'s to say. Nothing is concluded from a listing that failed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Dict, FrozenSet, Mapping, Optional, Union

from reconciler.control.change_recorder import DaemonRecorder
from reconciler.control.journal_reporter import JournalReporter
from reconciler.control.state import LoopState
from reconciler.core import events, metrics
from reconciler.core.conditions import (
    Again,
    Done,
    Result,
    Stalled,
    failed,
    find_delay,
    kind_of,
    unknown,
)
from reconciler.core.events import Event
from reconciler.core.manifest import Desired
from reconciler.core.manifest_sets import ManifestSet
from reconciler.core.plan import Action, ActionKind
from reconciler.core.prune import Deletion, KeptObject, KnownObject, Pruning, decide
from reconciler.core.records import Record
from reconciler.core.settings import PruneRails
from reconciler.core.world import DomainView, Unknown
from reconciler.errors import NotFoundError, ReconcilerError, RefusedError, TransientError
from reconciler.kinds.machine.answers import understand
from reconciler.kinds.machine.deletion import execute_delete, plan_deletion
from reconciler.kinds.machine.domain.mark import NAMESPACE

Views = Mapping[str, Union[DomainView, Unknown]]


@dataclass
class Prune:
    """The end of machines. `doomed` are those that are to be deleted now, by name.

    Manifests must have been in force for `settle` seconds before anything goes for want of one.
    What was decided holds for the manifests that were `weighed` then, and for no others.
    """

    shared: LoopState
    rails: PruneRails
    settle: float
    doomed: Dict[str, Deletion] = field(default_factory=dict)
    weighed: Optional[ManifestSet] = None

    def decide(self, views: Views) -> FrozenSet[str]:
        """Decide about what has no manifest, and return the names to be deleted now.

        `views` is a complete listing of the host, made after the manifests were read.
        """
        snapshot = self.shared.wanted.snapshot
        self.doomed, self.weighed = {}, snapshot
        if snapshot is None:
            return frozenset()
        if not self._find_gone(views):
            self._block(Pruning())
            return frozenset()
        pruning = decide(
            KnownObject(
                self.shared.ledger.all(),
                snapshot,
                {name: understand(view) for name, view in views.items()},
                time.monotonic() - self.shared.wanted.since >= self.settle,
                self.shared.parts.store.confirmed_prune(),
                self.shared.suspended,
            ),
            self.rails,
        )
        self._write_down(pruning)
        self.doomed = {deletion.name: deletion for deletion in pruning.deletions}
        return frozenset(self.doomed)

    def delete(self, name: str, record: Record) -> Result:
        """Delete a machine that is doomed; nothing happens to any other."""
        doomed = self.doomed.get(name)
        if doomed is None or self._find_reprieve(name):
            return Done()
        desired = Desired.of(*self.shared.wanted.in_force.templates)
        try:
            action = plan_deletion(self.shared.parts.host, desired, name, doomed.uuid)
        except NotFoundError:
            return self._forget(name)
        if action.action is ActionKind.FAILED:
            if action.reason != record.last_error:
                event = Event(events.FAILED, f"to be deleted: {action.reason}", name, "delete")
                self.shared.parts.journal.tell(event)
            again = self._judge(TransientError(action.reason), record)
            return self._put(record, again if action.transient else Stalled(action.reason))
        if action.action is not ActionKind.DELETE:
            return Done()
        return self._carry_out(name, record, desired, action)

    def _carry_out(self, name: str, record: Record, desired: Desired, action: Action) -> Result:
        parts = self.shared.parts
        revision = self.shared.wanted.in_force.revision
        telling = JournalReporter(
            parts.journal, parts.meter, revision, drift=False, moved=self.shared.move
        )
        telling.last_error = record.last_error
        recording = DaemonRecorder(parts).on(telling, revision)

        def refuse() -> None:
            reprieve = self._find_reprieve(name)
            if reprieve:
                raise RefusedError(f"not deleted: {reprieve}")

        outcome = execute_delete(parts.host, desired, action, recording, parts.clock, refuse)
        if outcome.cause is None:
            parts.journal.tell(
                Event(events.PRUNED, "deleted: its manifest is gone", name, "delete")
            )
            return self._forget(name)
        return self._put(record, self._judge(outcome.cause, record))

    def _find_reprieve(self, name: str) -> str:
        """Return why what was decided holds no more, if it does not; the next resync decides anew.

        Deleting is tried again for as long as it takes, and a guest may need hours to shut down:
        meanwhile the manifest can come back, or a person say that the machine is to be left alone.
        """
        if self.shared.wanted.snapshot is not self.weighed:
            return "the manifests have changed"
        return "it was suspended" if name in self.shared.parts.store.suspended() else ""

    def _judge(self, cause: ReconcilerError, record: Record) -> Union[Again, Stalled]:
        self.shared.parts.meter.count(metrics.ERRORS, kind=kind_of(cause))
        if isinstance(cause, TransientError):
            chance = self.shared.parts.chance()
            return Again(str(cause), find_delay(record.failures + 1, chance))
        return Stalled(str(cause))  # and decided anew at the next resync

    def _forget(self, name: str) -> Result:
        self.doomed.pop(name, None)
        self.shared.forget(name)
        return Done()

    def _put(self, record: Record, result: Union[Again, Stalled]) -> Result:
        verdict = failed(f"to be deleted: {result.reason}", again=isinstance(result, Again))
        self.shared.ledger.put(
            replace(
                record,
                conditions=verdict.conditions(),
                last_error=result.reason,
                failures=record.failures + isinstance(result, Again),
            )
        )
        return result

    def _find_gone(self, views: Views) -> FrozenSet[str]:
        """Return what may be ours and has no manifest; cheap, as there is seldom any."""
        machines = self.shared.wanted.in_force.machines
        marked = {name for name, view in views.items() if name not in machines and _is_marked(view)}
        return frozenset(marked | (self.shared.ledger.all().keys() - machines.keys()))

    def _write_down(self, pruning: Pruning) -> None:
        for name in pruning.absent:
            self.shared.forget(name)
        for one in pruning.left:
            self._leave(one)
        for waiting in pruning.held:
            reason = "its manifest is gone: its deletion waits"
            self._leave(
                KeptObject(waiting.name, f"{reason} for a person" if pruning.blocked else reason)
            )
        self._block(pruning)

    def _leave(self, one: KeptObject) -> None:
        record = self.shared.ledger.get(one.name)
        self.shared.ledger.put(
            replace(record, conditions=unknown(one.reason).conditions(), last_error="", problem="")
        )

    def _block(self, pruning: Pruning) -> None:
        """Keep what is held back where the verb `prune` finds it; tell why, once."""
        former, why = self.shared.ledger.source, pruning.blocked
        held = tuple(one.name for one in pruning.held) if why else ()
        self.shared.ledger.change_source(
            lambda source: replace(source, prune_blocked=why, prune_held=held)
        )
        if why and why != former.prune_blocked:
            self.shared.parts.journal.tell(Event(events.PRUNE_BLOCKED, why))


def _is_marked(view: Union[DomainView, Unknown]) -> bool:
    return isinstance(view, Unknown) or NAMESPACE in view.persistent_xml
