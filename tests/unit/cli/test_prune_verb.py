"""`prune`: what is held back is shown in full before a person confirms it, for that alone."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import List, Optional, Sequence

import pytest

from reconciler.cli.console import Console
from reconciler.cli.verbs import prune
from reconciler.control.ports import Host
from reconciler.core.plan import Plan
from reconciler.core.records import SourceRecord
from reconciler.core.settings import Settings
from reconciler.errors import RefusedError, TransientError, UsageError
from tests.unit.render.plans import DELETE, UNDEFINE, plan_of

from .fakes import FakeMemory, FakeParts, Piped, Terminal

BLOCKED = "2 of 9 owned machines have no manifest any more, but prune.most allows 1 at once"
SOURCE = SourceRecord(
    "f00d" * 10, "f00d" * 10, prune_blocked=BLOCKED, prune_held=("plain", "retired")
)


def remember(source: SourceRecord = SOURCE, confirmed: str = "") -> FakeMemory:
    """Return the daemon's memory."""
    return FakeMemory(source=source, confirmed=confirmed)


@dataclass
class Parts(FakeParts):
    """The fake parts, with that memory."""

    memory: FakeMemory = field(default_factory=remember)
    asked: List[str] = field(default_factory=list)

    def read_settings(self, path: str) -> Settings:
        return Settings(state="/state")

    def plan_deletions(self, host: Host, names: Sequence[str]) -> Plan:
        self.asked.extend(names)
        return plan_of(DELETE, UNDEFINE)


@dataclass(frozen=True)
class Said:
    """How the verb ended, and what it printed."""

    status: int
    out: str


def call(parts: Parts, *, yes: bool = False, answer: Optional[str] = None) -> Said:
    """Run the verb; `answer` is what a person at a terminal types."""
    out = Piped()
    typed = Piped("") if answer is None else Terminal(answer)
    options = argparse.Namespace(yes=yes, config="config.yaml", connect=None, verbose=False)
    status = prune.run(options, Console(out, Piped(), typed, {}), parts)
    return Said(int(status), out.getvalue())


@pytest.mark.parametrize(("yes", "answer"), [(True, None), (False, "y\n"), (False, "yes\n")])
def test_what_was_seen_is_confirmed(yes: bool, answer: Optional[str]) -> None:
    parts = Parts()
    said = call(parts, yes=yes, answer=answer)
    assert said.status == 0
    assert parts.asked == ["plain", "retired"]
    assert parts.states == ["/state"]
    assert parts.memory.confirmed == SOURCE.identity
    for words in (
        "- plain: will be deleted\n",
        "default/retired-root.qcow2",
        BLOCKED,
        "f00df00df00d",
    ):
        assert words in said.out
    assert "2 to delete (1 volumes)" in said.out


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_any_other_answer_confirms_nothing(answer: str) -> None:
    parts = Parts()
    said = call(parts, answer=answer)
    assert (said.status, parts.memory.confirmed) == (1, "")
    assert said.out.endswith("Nothing was confirmed.\n")


def test_nothing_held_back_asks_nothing() -> None:
    parts = Parts(memory=remember(SourceRecord("f", "f")))
    assert call(parts) == Said(0, "Nothing is held back.\n")
    assert parts.uris == []


def test_a_second_confirmation_says_so() -> None:
    parts = Parts(memory=remember(confirmed=SOURCE.identity or ""))
    said = call(parts)
    assert said.status == 0
    assert "Already confirmed" in said.out


REFUSALS = {
    "manifests with problems": remember(replace(SOURCE, problems=("a.yaml:3:5: wrong",))),
    "manifests that are not known": remember(replace(SOURCE, identity=None)),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_certain_cannot_be_confirmed(case: str) -> None:
    parts = Parts(memory=replace(REFUSALS[case]))
    with pytest.raises(RefusedError, match="cannot be confirmed"):
        call(parts, yes=True)
    assert parts.memory.confirmed == ""


def test_what_cannot_be_shown_is_not_confirmed() -> None:
    parts = Parts(unreachable=TransientError("libvirt is away"))
    with pytest.raises(TransientError):
        call(parts, yes=True)
    assert parts.memory.confirmed == ""


def test_without_a_terminal_yes_must_be_said() -> None:
    parts = Parts()
    with pytest.raises(UsageError, match="--yes"):
        call(parts)
    assert parts.memory.confirmed == ""
