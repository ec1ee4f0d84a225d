"""One pass over this host's daemons: look, plan, carry out what its `Host` manifest allows.

Needs no libvirt: it may be libvirt's daemons that are missing. There is one host, so that one pass
runs at a time and what it told last can be kept here.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.control.journal_reporter import JournalReporter
from reconciler.control.state import LoopState
from reconciler.core import events
from reconciler.core.conditions import Again, Done, Result, Stalled, find_delay
from reconciler.core.events import Event
from reconciler.core.manifest import HostManifest
from reconciler.core.plan import Action, Effect
from reconciler.core.world import Unknown, World
from reconciler.errors import RefusedError, TransientError
from reconciler.kinds.host.execute import execute_host
from reconciler.kinds.host.faults import find_host
from reconciler.kinds.host.planning import plan_host


@dataclass
class HostPass:
    """Passes over this host; `told` is what was wrong at the last one."""

    shared: LoopState
    told: str = ""
    error: str = ""
    failures: int = 0

    def run(self) -> Result:
        """Bring the daemons to what the manifest says, as far as may be."""
        in_force = self.shared.wanted.in_force
        if not any(host.mode for host in in_force.hosts):
            return Done()
        view = self.shared.parts.host.units.observe()
        if isinstance(view, Unknown):
            self._tell("", f"the daemons cannot be inspected: {view.reason}")
            return Done()
        manifest = find_host(in_force.hosts, view.host)
        if manifest is None or manifest.mode is None:
            return Done()
        action = plan_host(manifest, World(view.host, view.uri, daemons=view))
        self._tell(manifest.name, _describe_held(action))
        if action.steps:
            return self._carry_out(manifest, action)
        self.error, self.failures = "", 0
        return Done()

    def _carry_out(self, manifest: HostManifest, action: Action) -> Result:
        parts, revision = self.shared.parts, self.shared.wanted.in_force.revision
        telling = JournalReporter(
            parts.journal, parts.meter, revision, drift=False, moved=self.shared.move
        )
        telling.last_error = self.error
        outcome = execute_host(parts.host.units, manifest, action, telling, parts.clock)
        self.error = outcome.error or ""
        if outcome.cause is None:
            self.failures = 0
            return Done()
        self.failures += 1
        if isinstance(outcome.cause, (TransientError, RefusedError)):
            return Again(self.error, find_delay(self.failures, parts.chance()))
        return Stalled(self.error)  # until the manifests change, or the next resync

    def _tell(self, name: str, text: str) -> None:
        """Tell what is wrong and left so, once."""
        if text != self.told:
            message = text or "nothing is withheld any more"
            revision = self.shared.wanted.in_force.revision
            event = Event(events.CONDITION, message, object=name or None, revision=revision)
            self.shared.parts.journal.tell(event)
        self.told = text


def _describe_held(action: Action) -> str:
    held = [change for change in action.changes if change.effect is Effect.WITHHELD]
    return "; ".join(f"{one.path}: {one.reason}" for one in held)
