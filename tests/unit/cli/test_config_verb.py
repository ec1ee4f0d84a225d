"""`config check`, and that a wrong configuration takes the brake from nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import pytest

from reconciler.adapters.state.folder import FolderStore
from reconciler.core.conditions import failed
from reconciler.core.records import Record, SourceRecord, Suspension
from tests.lab.keys import vm

from .fakes import REAL, call

HEAD = "apiVersion: virt-reconciler/v1\nkind: Configuration\n"
GOOD = "spec: {{source: {{directory: /m}}, state: {state}, connect: 'test:///default'}}\n"
BAD = (
    "spec:\n  state: {state}\n  connect: 'test:///default'\n  lanes: many\n  resync: often\n"
    "  source: {{directory: /m}}\n"
)


@pytest.fixture
def site(tmp_path: Path) -> Tuple[Path, FolderStore]:
    """Return a wrong configuration, and the memory of a daemon that began with a right one."""
    state = tmp_path / "state"
    store = FolderStore(str(state))
    conditions = failed("refused", again=False).conditions()
    store.save_record(Record("web01", conditions=conditions))
    store.suspend(Suspension("web02", 5.0))
    store.save_source(SourceRecord("r", "r", 5.0))
    path = tmp_path / "config.yaml"
    path.write_text(HEAD + BAD.format(state=state), encoding="utf-8")
    return path, store


def test_every_problem_is_reported_with_its_place(site: Tuple[Path, FolderStore]) -> None:
    path, _ = site
    for words in (("config", "check", str(path)), ("--config", str(path), "config", "check")):
        done = call(REAL, *words)
        assert (done.status, done.out) == (65, "")
        places = [line.split(": ")[0] for line in done.err.splitlines()]
        assert places == [f"{path}:6:10", f"{path}:7:11"], done.err


def test_a_right_one_is_said_to_be_valid(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(HEAD + GOOD.format(state="/srv/s"), encoding="utf-8")
    done = call(REAL, "config", "check", str(path))
    assert (done.status, done.out, done.err) == (0, f"{path}: valid\n", "")
    assert call(REAL, "config", "check", str(tmp_path / "no")).status == 64


def test_status_and_the_brake_work_with_a_wrong_configuration(
    site: Tuple[Path, FolderStore],
) -> None:
    path, store = site
    with store.lock():
        for words, out in (
            (("status",), "web01"),
            (("suspend", "web01"), "web01: suspended"),
            (("resume", "web01", "web02"), "web02: resumed"),
            (("retry", "web01"), "web01: is tried again"),
            (("prune",), "Nothing is held back."),
        ):
            done = call(REAL, "--config", str(path), *words)
            assert done.status == 0, done
            assert out in done.out
            assert f"{path} has 2 problems (virt-reconciler config check {path})" in done.err
    assert store.suspended() == {}
    assert store.take_retries() == {vm("web01")}
