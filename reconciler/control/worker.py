"""Work on one object: run its pass, write down how it ended. Holds the worker's boundary."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.control.one_pass import ObjectPass, PassResult
from reconciler.control.prune import Prune
from reconciler.control.queue import WorkQueue
from reconciler.control.state import QEMU, LoopState, PassStatus
from reconciler.core import events, metrics
from reconciler.core.conditions import READY, Again, Done, Result, kind_of, unknown
from reconciler.core.events import Event
from reconciler.core.faults import contain, trace_fault
from reconciler.core.frozen import replace
from reconciler.core.key import Key
from reconciler.core.manifest import Manifest
from reconciler.core.manifest_files import InForce
from reconciler.core.overview import LEFT_ALONE
from reconciler.core.prune import ELSEWHERE
from reconciler.core.records import LastChange, Record
from reconciler.core.world import Unknown
from reconciler.errors import FaultError, ReconcilerError
from reconciler.kinds.api import PassTask, find_kind

PROBE = Key("Probe", "")
AFTER_FAULT = 60.0  # seconds


@dataclass
class ObjectWorker:
    """What is done with the keys of a queue; `probed` is when a probe last came through it."""

    shared: LoopState
    passes: ObjectPass
    prune: Prune
    queue: WorkQueue[Key]
    probed: float

    def __call__(self, key: Key, waited: float) -> None:
        """Look at one object, and have it looked at again if that may help. Never raises."""
        clock = self.shared.services.clock
        if key == PROBE:
            self.probed = clock.now()
            return
        meter = self.shared.services.meter
        meter.observe(metrics.QUEUE_WAIT, waited)
        begun = clock.now()
        try:
            result = contain(self._run, key)
        except ReconcilerError as error:
            result = self._report(key, error)
            self.queue.add_after(key, result.after)  # first: nothing of what follows may lose it
            self._write(key, self._find_status_of_fault(key, result))
        meter.count(metrics.PASSES, result=type(result).__name__.lower())
        meter.observe(metrics.DURATION, clock.now() - begun)
        if isinstance(result, Again):
            self.queue.add_after(key, result.after)
        elif isinstance(result, Done) and QEMU not in self.shared.unreached:
            meter.set(metrics.LAST_SUCCESS, clock.wall())

    def _run(self, key: Key) -> Result:
        """Look at one object, and write its status down once, whichever way the pass ended."""
        status = self._pass(key)
        self._write(key, status)
        return status.result

    def _write(self, key: Key, status: PassStatus) -> None:
        """Write down how a pass ended: the only place that does."""
        if status.is_gone:
            self.shared.forget(key)
        elif status.record is not None:
            self.shared.ledger.put(status.record)

    def _pass(self, key: Key) -> PassStatus:
        shared, begun, kind = self.shared, self.shared.services.clock.now(), find_kind(key.kind)
        former = self._note_migration(shared.ledger.get(key))
        reason = shared.find_unreached(kind)  # once: it may be reached the next moment
        host = "" if reason else shared.find_host(kind)
        if isinstance(host, Unknown):
            reason = host.reason
        if reason:
            # Everything is looked at again when libvirt is reached.
            return PassStatus(Done(), replace(former, conditions=unknown(reason).conditions()))
        in_force = shared.wanted.in_force  # what comes in meanwhile is for the next pass
        manifest = in_force.objects.get(key)
        if manifest is None:
            return self.prune.delete(key, former)  # if that was decided; else it is left alone
        if not kind.is_here(manifest, str(host)):
            return self._leave(key, former)
        if key in shared.suspended:
            found = self.passes.look_only(key, LEFT_ALONE)
            return self._describe(former, manifest, in_force, found)
        drift = former.observed_generation == manifest.generation
        placed = shared.ledger.find_placed(key)
        retried = shared.retried.get(key, 0)
        task = PassTask(
            manifest,
            in_force,
            former.failures,
            drift,
            former.last_error,
            placed,
            former.migrated,
            retried,
            booted=former.boot not in ("", shared.services.boot),
        )
        found = self.passes.run(task)
        if retried and not isinstance(found.result, Again):
            shared.retried.pop(key, None)
        if placed and found.sighting is not None:
            shared.ledger.arrive(key)
        is_active = found.sighting is not None and found.sighting.is_active
        if is_active and shared.left.get(key, 0.0) < begun:
            shared.left.pop(key, None)  # it came back
            former = replace(former, migrated=False)
        self._wake(key, manifest, in_force, found)
        return self._describe(self._note_migration(former), manifest, in_force, found)

    def _wake(self, key: Key, manifest: Manifest, in_force: InForce, found: PassResult) -> None:
        """Have those looked at that wait for the object, or for which it waits."""
        awaited = set(in_force.find_users(key)) if found.done else set()
        if isinstance(found.result, Again):
            needs = find_kind(key.kind).needs(manifest, in_force.desired)
            awaited |= needs & in_force.reconciled.keys()
        for other in sorted(awaited):
            if not self.shared.ledger.get(other).condition(READY).holds or not found.done:
                self.shared.attempts.soil(other)
                self.queue.add(other)

    def _note_migration(self, record: Record) -> Record:
        return replace(record, migrated=True) if record.key in self.shared.left else record

    def _leave(self, key: Key, former: Record) -> PassStatus:
        """Do nothing to an object of another host; what is still here of it stays in mind."""
        if key not in self.shared.ledger.all():
            return PassStatus(Done())
        found = self.passes.look_only(key, ELSEWHERE)
        if found.sighting is None:
            return PassStatus(Done(), is_gone=True)
        record = replace(
            former,
            state=_state(found),
            guest=found.sighting.detail,
            conditions=found.verdict.conditions(),
            next_try=None,
            trying_since=None,
        )
        return PassStatus(Done(), record)

    def _describe(
        self, former: Record, manifest: Manifest, in_force: InForce, found: PassResult
    ) -> PassStatus:
        """Return the status after a pass over an object of this host."""
        result, shared = found.result, self.shared
        now = shared.services.clock.wall()
        again = result if isinstance(result, Again) else None
        change = LastChange(now, in_force.revision, found.done) if found.done else None
        record = replace(
            former,
            state=_state(found),
            guest=found.sighting.detail if found.sighting else "",
            generation=manifest.generation,
            observed_generation=former.observed_generation if again else manifest.generation,
            revision=in_force.revision,
            conditions=found.verdict.conditions(),
            last_change=change or former.last_change,
            last_error="" if isinstance(result, Done) else result.reason,
            failures=former.failures + found.tried if again else 0,
            next_try=round(now + again.after) if again else None,
            trying_since=(former.trying_since or round(now)) if again else None,
            uuid=found.sighting.uuid if found.sighting else former.uuid,
            seen_at=in_force.identity,
            problem=in_force.problems.get(manifest.key, ""),
            boot=shared.services.boot if found.is_settled else former.boot,
        )
        return PassStatus(result, record)

    def _find_status_of_fault(self, key: Key, fault: Again) -> PassStatus:
        """Have the status say it too: what a former pass has found out need not hold any more."""
        ledger = self.shared.ledger
        if key not in ledger.all() and key not in self.shared.wanted.in_force.objects:
            return PassStatus(fault)
        record = replace(
            ledger.get(key),
            conditions=unknown(fault.reason, again=fault.reason).conditions(),
            last_error=fault.reason,
            next_try=round(self.shared.services.clock.wall() + fault.after),
        )
        return PassStatus(fault, record)

    def _report(self, key: Key, error: ReconcilerError) -> Again:
        """Tell of what nobody caught: libvirt gone between two calls, or a bug of ours."""
        self.shared.services.meter.count(metrics.ERRORS, kind=kind_of(error))
        text = str(error)
        if isinstance(error, FaultError):
            lines = " | ".join(trace_fault(error).splitlines())
            text = f"this is a bug in virt-reconciler; please report it: {lines}"
        self.shared.services.journal.tell(Event(events.FAILED, text, object=key))
        return Again(text, AFTER_FAULT)


def _state(found: PassResult) -> str:
    if found.sighting is not None:
        return found.sighting.state
    return "unknown" if found.verdict.ready is None else "absent"
