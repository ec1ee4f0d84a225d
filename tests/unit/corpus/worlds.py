"""The worlds of tests/corpus: a recorded host and the manifests for it. No test is here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import List, Tuple

from reconciler.adapters.manifests.reader import load_manifests
from reconciler.control.ports import Host
from reconciler.control.prune import plan_deletions
from reconciler.core.host_snapshot import HostSnapshot, read_snapshot
from reconciler.core.manifest import Desired
from reconciler.core.plan import Outcome, Plan, PlanOptions
from reconciler.kinds.machine.observe import observe
from tests.execution import execute
from tests.lab.keys import vm
from tests.unit.control.test_trail import Silent
from tests.unit.fake_clock import FakeClock

CORPUS = Path(__file__).parents[2] / "corpus"


@dataclass(frozen=True)
class RecordedWorld:
    """One folder of the corpus. `arguments` are those of `plan`; `gone` lost their manifests."""

    folder: Path
    snapshot: HostSnapshot
    desired: Desired
    arguments: Tuple[str, ...] = ()
    gone: Tuple[str, ...] = ()

    @property
    def options(self) -> PlanOptions:
        """What the arguments mean."""
        return PlanOptions(adopt=frozenset(self.arguments[1::2]))

    def plan(self, host: Host) -> Plan:
        """Plan what the manifests ask for, with the real planner."""
        return observe(host, self.desired).plan(self.options)

    def plan_deletions(self, host: Host) -> Plan:
        """Plan the end of the machines whose manifests are gone."""
        return plan_deletions(host, map(vm, self.gone))

    def apply(self, host: Host, plan: Plan) -> Tuple[Outcome, ...]:
        """Carry a plan out."""
        return execute(host, self.desired, plan, Silent(), FakeClock())


def list_worlds() -> List[str]:
    """Return the names of all worlds."""
    return sorted(path.parent.name for path in CORPUS.glob("*/host.json"))


@lru_cache(None)
def read_world(name: str) -> RecordedWorld:
    """Read a world; it is never changed."""
    folder = CORPUS / name
    text = (folder / "host.json").read_text(encoding="utf-8")
    loaded = load_manifests([str(folder / "manifests")])
    assert loaded.problems == ()
    return RecordedWorld(
        folder,
        read_snapshot(text, name),
        loaded.desired,
        _read_words(folder / "arguments"),
        _read_words(folder / "delete"),
    )


def _read_words(path: Path) -> Tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").split()) if path.is_file() else ()
