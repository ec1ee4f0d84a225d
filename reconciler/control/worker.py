"""Work on one object: run its pass, write down how it ended. Holds the worker's boundary."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Tuple

from reconciler.control.manifest_sets import find_alone, find_machine
from reconciler.control.one_pass import ObjectPass, PassResult, Task
from reconciler.control.pruning import Prune
from reconciler.control.queue import WorkQueue
from reconciler.control.state import QEMU, LoopState
from reconciler.core import events, metrics
from reconciler.core.conditions import Again, Done, Result, kind_of, unknown
from reconciler.core.events import Event
from reconciler.core.faults import contain, trace_fault
from reconciler.core.manifest import MachineManifest
from reconciler.core.manifest_sets import InForce
from reconciler.core.prune import ELSEWHERE
from reconciler.core.records import LastChange, Record
from reconciler.core.world import describe_state
from reconciler.errors import FaultError, ReconcilerError
from reconciler.kinds.host.host_pass import HostPass

Key = Tuple[str, str]
MACHINE = "VirtualMachine"
HOST: Key = ("Host", "")  # this one
PROBE: Key = ("Probe", "")
AFTER_FAULT = 60.0  # seconds


@dataclass
class ObjectWorker:
    """What is done with the keys of a queue; `probed` is when a probe last came through it."""

    shared: LoopState
    passes: ObjectPass
    prune: Prune
    host: HostPass
    queue: WorkQueue[Key]
    probed: float

    def __call__(self, key: Key, waited: float) -> None:
        """Look at one object, and have it looked at again if that may help. Never raises."""
        if key == PROBE:
            self.probed = time.monotonic()
            return
        meter = self.shared.parts.meter
        meter.observe(metrics.QUEUE_WAIT, waited)
        begun = time.monotonic()
        try:
            result = contain(self.host.run) if key == HOST else contain(self._pass, key[1])
        except ReconcilerError as error:
            result = self._report(key, error)
            self.queue.add_after(key, result.after)  # first: nothing of what follows may lose it
            self._remember(key, result)
        meter.count(metrics.PASSES, result=type(result).__name__.lower())
        meter.observe(metrics.DURATION, time.monotonic() - begun)
        if isinstance(result, Again):
            self.queue.add_after(key, result.after)
        elif isinstance(result, Done) and QEMU not in self.shared.unreached:
            meter.set(metrics.LAST_SUCCESS, self.shared.parts.wall())

    def _pass(self, name: str) -> Result:
        shared, begun = self.shared, time.monotonic()
        former = self._note_migration(shared.ledger.get(name))
        reason = shared.unreached.get(QEMU)  # once: it may be reached the next moment
        if reason is not None:
            shared.ledger.put(replace(former, conditions=unknown(reason).conditions()))
            return Done()  # everything is looked at again when libvirt is reached
        in_force = shared.wanted.in_force  # what comes in meanwhile is for the next pass
        manifest = find_machine(in_force, name, shared.find_host())
        if manifest is None and name in in_force.machines:
            return self._leave(name, former)
        if manifest is None:
            return self.prune.delete(name, former)  # if that was decided; else it is left alone
        if name in shared.suspended:
            found = self.passes.look_only(name, "suspended")
            return self._put(former, manifest, in_force, found)
        drift = former.observed_generation == manifest.generation
        alone = find_alone(in_force, manifest)
        task = Task(
            manifest, alone, former.failures, drift, former.last_error,
            in_force.hosts, shared.ledger.find_placed(name), former.migrated,
        )  # fmt: skip
        found = self.passes.run(task)
        if task.placed and found.view is not None:
            shared.ledger.arrive(name)
        if found.view is not None and found.view.is_active and shared.left.get(name, 0.0) < begun:
            shared.left.pop(name, None)  # it came back
            former = replace(former, migrated=False)
        return self._put(self._note_migration(former), manifest, in_force, found)

    def _note_migration(self, record: Record) -> Record:
        return replace(record, migrated=True) if record.name in self.shared.left else record

    def _leave(self, name: str, former: Record) -> Result:
        """Do nothing to a machine of another host; what is still here of it stays in mind."""
        ledger = self.shared.ledger
        if name not in ledger.all():
            return Done()
        found = self.passes.look_only(name, ELSEWHERE)
        if found.view is None:
            self.shared.forget(name)
        else:
            conditions = found.verdict.conditions()
            guest = describe_state(found.view)
            ledger.put(
                replace(
                    former, state=_state(found), guest=guest, conditions=conditions, next_try=None
                )
            )
        return Done()

    def _put(
        self, former: Record, manifest: MachineManifest, in_force: InForce, found: PassResult
    ) -> Result:
        """Write down how the pass ended; every way out of one comes through here."""
        result, shared = found.result, self.shared
        now = shared.parts.wall()
        again = result if isinstance(result, Again) else None
        change = LastChange(now, manifest.revision, found.done) if found.done else None
        record = replace(
            former,
            state=_state(found),
            guest=describe_state(found.view) if found.view else "",
            generation=manifest.generation,
            observed_generation=former.observed_generation if again else manifest.generation,
            revision=manifest.revision,
            conditions=found.verdict.conditions(),
            last_change=change or former.last_change,
            last_error="" if isinstance(result, Done) else result.reason,
            failures=former.failures + found.tried if again else 0,
            next_try=round(now + again.after) if again else None,
            uuid=found.view.uuid if found.view else former.uuid,
            seen_at=in_force.identity,
            problem=in_force.problems.get(manifest.key, ""),
        )
        shared.ledger.put(record)
        return result

    def _remember(self, key: Key, fault: Again) -> None:
        """Have the status say it too: what a former pass has found out need not hold any more."""
        ledger, name = self.shared.ledger, key[1]
        if name in ledger.all() or name in self.shared.wanted.in_force.machines:
            conditions = unknown(fault.reason, again=fault.reason).conditions()
            due = round(self.shared.parts.wall() + fault.after)
            ledger.put(
                replace(
                    ledger.get(name),
                    conditions=conditions,
                    last_error=fault.reason,
                    next_try=due,
                )
            )

    def _report(self, key: Key, error: ReconcilerError) -> Again:
        """Tell of what nobody caught: libvirt gone between two calls, or a bug of ours."""
        self.shared.parts.meter.count(metrics.ERRORS, kind=kind_of(error))
        text = str(error)
        if isinstance(error, FaultError):
            lines = " | ".join(trace_fault(error).splitlines())
            text = f"this is a bug in virt-reconciler; please report it: {lines}"
        self.shared.parts.journal.tell(Event(events.FAILED, text, object=key[1]))
        return Again(text, AFTER_FAULT)


def _state(found: PassResult) -> str:
    if found.view is not None:
        return found.view.state.value
    return "unknown" if found.verdict.ready is None else "absent"
