"""What is watched so that no change of a place goes unseen, and why it cannot be watched."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Dict, Tuple

import pytest

from reconciler.adapters import watch as hindrances
from reconciler.adapters.watch import FileWatcher, Folder, explain, find_remote, survey

Watched = Dict[str, Tuple[bool, object]]


def watched(*places: object) -> Watched:
    """Return folder → whether all below counts, and which names in it."""
    found = survey([str(place) for place in places]).folders
    return {one.path: (one.is_deep, one.names) for one in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "vms"
    (made / "sub").mkdir(parents=True)
    return made


def test_a_folder_is_watched_and_its_name_where_it_stands(folder: Path) -> None:
    assert {path: one for path, one in watched(folder).items() if path != "/"} == {
        str(folder): (True, None),
        str(folder.parent): (False, frozenset({"vms"})),
    }


def test_every_link_on_the_way_is_watched_where_it_stands(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "current").symlink_to("../two/target")
    (tmp_path / "two" / "target").symlink_to(tmp_path)
    assert watched(tmp_path / "one" / "current" / "vms") == {
        str(tmp_path / "one"): (False, frozenset({"current"})),
        str(tmp_path / "two"): (False, frozenset({"target"})),
        str(tmp_path): (False, frozenset({"vms"})),
        str(folder): (True, None),
    }


def test_a_folder_alone_is_watched_without_what_is_below(folder: Path) -> None:
    assert watched(f"{folder}/.") == {
        str(folder): (False, None),
        str(folder.parent): (False, frozenset({"vms"})),
    }


def test_what_is_below_a_watched_folder_is_not_watched_twice(folder: Path) -> None:
    assert watched(folder, folder / "sub", folder / "sub" / "a.yaml") == watched(folder)


def test_what_is_missing_is_waited_for_where_it_would_begin(folder: Path) -> None:
    found = watched(folder / "not" / "here")
    assert found == {str(folder): (False, frozenset({"not"}))}


def test_a_file_is_watched_by_its_name(folder: Path) -> None:
    (folder / "a.yaml").touch()
    assert watched(folder / "a.yaml") == {str(folder): (False, frozenset({"a.yaml"}))}


def test_a_survey_differs_when_a_folder_is_another_under_the_same_name(
    folder: Path, tmp_path: Path
) -> None:
    before = survey([str(folder)])
    assert survey([str(folder)]) == before
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    folder.rename(tmp_path / "away")
    other.rename(folder)
    assert survey([str(folder)]) != before


def test_a_survey_differs_when_a_folder_below_was_moved_in(folder: Path, tmp_path: Path) -> None:
    before = survey([str(folder)])
    (tmp_path / "new").mkdir()
    (tmp_path / "new").rename(folder / "new")
    assert survey([str(folder)]) != before


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert survey([str(tmp_path / "a")])


@pytest.mark.parametrize(
    ("kind", "is_remote"),
    [("nfs4", True), ("fuse.sshfs", True), ("virtiofs", True), ("xfs", False), ("ext4", False)],
)
def test_a_file_system_that_others_change_is_polled(kind: str, is_remote: bool) -> None:
    mounts = (("/", "xfs"), ("/srv", kind), ("/srv/local", "xfs"))
    found = find_remote([Folder("/srv/vms", is_deep=True)], mounts)
    text = f"/srv/vms is on {kind}, which does not announce what others change in it"
    assert found == (text if is_remote else "")
    assert find_remote([Folder("/srv/local/vms", is_deep=True)], mounts) == ""
    assert find_remote([Folder("/srvx", is_deep=True)], mounts) == ""


def test_a_name_on_a_remote_file_system_does_not_matter_that_much() -> None:
    named = Folder("/srv", is_deep=False, names=frozenset({"vms"}))
    assert find_remote([named], (("/srv", "nfs"),)) == ""


def test_mounts_are_read_with_their_types(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (
        "21 1 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/rl-root rw\n"
        "90 21 0:50 / /srv/my\\040vms rw shared:5 master:1 - nfs4 host:/vms rw\n"
    )
    (tmp_path / "mountinfo").write_text(text, encoding="utf-8")
    monkeypatch.setattr(hindrances, "MOUNTS", str(tmp_path / "mountinfo"))
    assert hindrances.read_mounts() == (("/", "xfs"), ("/srv/my vms", "nfs4"))


def test_a_remote_file_system_is_polled_and_not_taken_for_armed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("21 1 0:50 / / rw shared:1 - nfs4 host:/ rw\n", encoding="utf-8")
    monkeypatch.setattr(hindrances, "MOUNTS", str(mounts))
    watcher = FileWatcher()
    how = watcher.watch((str(folder),), lambda: None)
    assert how.startswith("polling: ")
    assert "nfs4" in how
    assert not watcher.is_armed()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "sysctl fs.inotify.max_user_watches"),
        (errno.EMFILE, "sysctl fs.inotify.max_user_instances"),
        (errno.ENOSYS, "inotify does not work here: Function not implemented"),
    ],
)
def test_a_limit_is_told_with_what_to_raise(code: int, words: str) -> None:
    assert words in explain(OSError(code, os.strerror(code)))


def test_what_is_tried_is_given_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *arguments: object) -> int:
        if name == "inotify_add_watch":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(name, *arguments)

    real = hindrances._call
    monkeypatch.setattr(hindrances, "_call", refuse)
    before = len(os.listdir("/proc/self/fd"))
    watcher = FileWatcher()
    for _ in range(3):
        how = watcher.watch((str(folder),), lambda: None)
        assert how.endswith("raise it: sysctl fs.inotify.max_user_watches")
    assert len(os.listdir("/proc/self/fd")) == before


WATCH = """
import resource, sys
from reconciler.adapters.watch import FileWatcher
{first}
watcher = FileWatcher()
print(watcher.watch((sys.argv[1],), print))
{then}
print(watcher.watch((sys.argv[1],), print))
watcher.stop()
"""


def run(code: str, folder: Path, *before: str) -> str:
    command = [*before, sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_descriptor_left_means_polling_until_there_are_some(folder: Path) -> None:
    """Python itself needs a few, so the limit is set when all is loaded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    set_limit = "resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))"
    code = WATCH.format(first=set_limit.format(4, hard), then=set_limit.format(soft, hard))
    first, then = run(code, folder).splitlines()
    assert first.startswith("polling: the limit of inotify instances or of open files is reached")
    assert then == "inotify"


def test_no_watch_left_means_polling_until_there_are_some(folder: Path) -> None:
    """The limit of a user namespace of its own, so that nobody else meets it."""
    file = "/proc/sys/user/max_inotify_watches"
    code = WATCH.format(
        first=f"open({file!r}, 'w').write('1')", then=f"open({file!r}, 'w').write('1000')"
    )
    apart = ("unshare", "--user", "--map-root-user")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces for this user; what is tried is tested above")
    first, then = run(code, folder, *apart).splitlines()
    assert first == (
        "polling: the limit of inotify watches is reached; "
        "raise it: sysctl fs.inotify.max_user_watches"
    )
    assert then == "inotify"


MOUNT = """
import subprocess, sys
from reconciler.adapters.watch import FileWatcher
watcher = FileWatcher()
watcher.watch((sys.argv[1],), print)
print(watcher.is_armed())
subprocess.run(["mount", "--bind", sys.argv[1] + "/sub", sys.argv[1]], check=True)
print(watcher.is_armed())
watcher.stop()
"""


def test_a_mount_over_the_folder_is_noticed(folder: Path) -> None:
    """Inotify says nothing of it."""
    apart = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespaces for this user; a folder that is another is tested above")
    assert run(MOUNT, folder, *apart).splitlines() == ["True", "False"]
