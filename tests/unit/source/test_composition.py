"""The settings' source, put together from the real parts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from reconciler.cli.sources import REPOSITORY, make_follower, make_source
from reconciler.core.loop.settings import DirectorySource, GitSource, Settings
from reconciler.errors import UsageError
from tests.unit.source.clocks import StillClock, wait_until
from tests.unit.source.fakes import Ears
from tests.unit.source.repositories import Repository, machines


def test_a_folder_is_followed(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", machines("a"))
    settings = Settings(directory=DirectorySource(str(repository.folder / "vm")))
    ears = Ears()
    source = make_source(settings, StillClock(), {})
    follower = make_follower(settings, source, ears.listener(), ears, ears)
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        wait_until(lambda: "watching: inotify" in list(ears.heard))
        second = repository.commit(machines("b"))
        wait_until(lambda: ears.published()[-1:] == [f"{second}:vm"])
    finally:
        follower.stop()
        thread.join(20)
    assert [one.name for one in ears.snapshots[-1].desired.machines] == ["a", "b"]


def test_a_remote_is_fetched_into_the_state_folder(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", machines("a"))
    git = GitSource(str(repository.folder), path="vm")
    settings = Settings(git=git, state=str(tmp_path / "state"))
    assert make_source(settings, StillClock(), {}).take().revision == repository.head()
    assert (tmp_path / "state" / REPOSITORY / "HEAD").exists()


def test_no_source_is_an_error() -> None:
    with pytest.raises(UsageError, match="name no source of manifests"):
        make_source(Settings(), StillClock(), {})
