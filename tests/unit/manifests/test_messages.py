"""The words that people get, whole; the corpus `bad/` holds every kind of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.manifests import reader
from reconciler.adapters.manifests.reader import load_manifests
from tests.conftest import Golden
from tests.unit.manifests.documents import load, machine

HERE = Path(__file__).parent


def test_the_messages_about_the_corpus(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    loaded = load_manifests(["bad"])
    golden(HERE / "bad" / "problems.txt", "".join(f"{problem}\n" for problem in loaded.problems))
    assert loaded.desired.machines == ()


def test_a_refusal_without_a_reason_is_loud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "is_valid", lambda _: lambda _: False)
    (problem,) = load(tmp_path, machine()).problems
    assert "internal error" in problem.message
