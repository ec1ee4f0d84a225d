"""`prune`: what is held back is shown in full before a person confirms it, for that alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest

from reconciler.core.records import SourceRecord
from reconciler.core.settings import Settings
from reconciler.errors import TransientError

from .fakes import FakeMemory, FakeServices, Result, applied
from .fakes import call as run

BLOCKED = "2 of 9 owned machines have no manifest any more, but prune.most allows 1 at once"
SOURCE = SourceRecord(
    "f00d" * 10, "f00d" * 10, prune_blocked=BLOCKED, prune_held=("plain", "retired")
)


def remember(source: SourceRecord = SOURCE, confirmed: str = "") -> FakeMemory:
    """Return the daemon's memory."""
    return FakeMemory(source=source, confirmed=confirmed)


@pytest.fixture
def services() -> FakeServices:
    """Return a host with two machines that have no manifest any more; both may be deleted."""
    disks = [{"name": "root", "size": "1GiB"}]
    services = applied(
        plain={"lifecycle": {"deletion": "undefine"}},
        retired={"lifecycle": {"deletion": "deleteDisks"}, "disks": disks},
    )
    services.memory = remember()
    services.settings = Settings(state="/state")
    return services


def call(services: FakeServices, *, yes: bool = False, answer: Optional[str] = None) -> Result:
    """Run the verb; `answer` is what a person at a terminal types."""
    words = ("--yes",) if yes else ()
    return run(services, "--config", "c.yaml", "prune", *words, answers=answer)


@pytest.mark.parametrize(("yes", "answer"), [(True, None), (False, "y\n"), (False, "yes\n")])
def test_what_was_seen_is_confirmed(
    services: FakeServices, yes: bool, answer: Optional[str]
) -> None:
    said = call(services, yes=yes, answer=answer)
    assert said.status == 0, said
    assert set(services.states) == {"/state"}
    assert services.memory.confirmed == SOURCE.identity
    assert services.host.writes == []
    for words in (
        "- plain: will be deleted\n",
        "default/retired-root.qcow2",
        BLOCKED,
        "f00df00df00d",
    ):
        assert words in said.out
    assert "2 to delete (1 volumes)" in said.out


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_any_other_answer_confirms_nothing(services: FakeServices, answer: str) -> None:
    said = call(services, answer=answer)
    assert (said.status, services.memory.confirmed) == (1, "")
    assert said.out.endswith("Nothing was confirmed.\n")


def test_nothing_held_back_asks_nothing(services: FakeServices) -> None:
    services.memory = remember(SourceRecord("f", "f"))
    assert call(services) == Result(0, "Nothing is held back.\n", "")
    assert services.uris == []


def test_a_second_confirmation_says_so(services: FakeServices) -> None:
    services.memory = remember(confirmed=SOURCE.identity or "")
    said = call(services)
    assert said.status == 0
    assert "Already confirmed" in said.out


REFUSALS = {
    "manifests with problems": remember(replace(SOURCE, problems=("a.yaml:3:5: wrong",))),
    "manifests that are not known": remember(replace(SOURCE, identity=None)),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_certain_cannot_be_confirmed(services: FakeServices, case: str) -> None:
    services.memory = replace(REFUSALS[case])
    said = call(services, yes=True)
    assert (said.status, services.memory.confirmed) == (4, "")
    assert "cannot be confirmed" in said.err


def test_what_cannot_be_shown_is_not_confirmed(services: FakeServices) -> None:
    services.unreachable = TransientError("libvirt is away")
    assert call(services, yes=True).status == 1
    assert services.memory.confirmed == ""


def test_without_a_terminal_yes_must_be_given(services: FakeServices) -> None:
    said = call(services)
    assert (said.status, services.memory.confirmed) == (64, "")
    assert "give --yes" in said.err
