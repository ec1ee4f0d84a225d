"""Real inotify and real files: what people do to manifests, and what is published for it.

Each case is run with a timer that never comes, so that only a hint can find the change; what inotify
cannot see is run with a timer that comes soon, and must be counted as missed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from watchdog.observers import inotify_c

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.git.work_tree import WorkTreeSource
from reconciler.adapters.manifests.files import FolderSource
from reconciler.adapters.manifests.reader import load_files
from reconciler.adapters.watch import FileWatcher
from reconciler.control.manifest_follower import (
    LocalFiles,
    LookTimer,
    ManifestFollower,
    ParsedFiles,
)
from reconciler.core.metrics import WATCH_MISSED
from tests.unit.manifests.documents import machine
from tests.unit.source.clocks import wait_until
from tests.unit.source.fakes import Ears
from tests.unit.source.repositories import Repository, git, machines

NEVER = 10_000.0
QUIET = 0.03


class Following:
    """A follower of a path, in its thread."""

    def __init__(self, path: Path, rescan: float = NEVER, quiet: float = QUIET) -> None:
        self.ears = Ears()
        self.watcher = FileWatcher()
        self.pace = LookTimer(
            rescan, time.monotonic, quiet=quiet, most=max(0.3, 2 * quiet), grace=0.6
        )
        self.looks = 0
        folder = FolderSource(str(path), SystemClock(), quiet)
        files = LocalFiles(WorkTreeSource(str(path)), folder)
        source = ParsedFiles(files, load_files)
        self.follower = ManifestFollower(
            source, self.watcher, self.ears.listener(), self.ears, self.ears, self.pace
        )
        self.thread = threading.Thread(target=self.follower.run)
        self.thread.start()

    def settle(self) -> Following:
        """Wait until it watches and has nothing to look after."""
        wait_until(lambda: any(one.startswith("watching") for one in list(self.ears.heard)))
        wait_until(lambda: self.pace._first is None and self.watcher.is_armed())
        return self

    def sizes(self) -> List[str]:
        """Return what was published, each as `a=1 b=1`: machines and their processors."""
        with self.ears.lock:
            found = list(self.ears.snapshots)
        return [
            " ".join(
                f"{one.name}={one.machine.cpus.count}"
                for one in each.desired.machines
                if one.machine.cpus
            )
            for each in found
        ]

    def expect(self, *sizes: str) -> None:
        """Wait for the last, and hold all that was published against the list."""
        wait_until(lambda: self.sizes()[-1:] == [sizes[-1]])
        assert self.sizes() == list(sizes)

    def missed(self) -> int:
        return self.ears.counts[WATCH_MISSED]

    def stop(self) -> None:
        self.follower.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


def text(name: str, cpus: int = 1) -> str:
    return machine(name, cpus=cpus, memory="1GiB")


def put(path: Path, cpus: int = 1) -> Path:
    """Write a manifest as a careful program does: aside, then by renaming."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.tmp"
    aside.write_text(text(path.stem, cpus), encoding="utf-8")
    aside.rename(path)
    return path


Start = Callable[..., Following]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that follows a path; ended with the test."""
    started: List[Following] = []

    def follow(path: Path, rescan: float = NEVER, quiet: float = QUIET) -> Following:
        started.append(Following(path, rescan, quiet))
        return started[-1].settle()

    yield follow
    for one in started:
        one.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "vms" / "a.yaml")
    return tmp_path / "vms"


def rename_over(path: Path) -> None:
    put(path, 2)


def vim(path: Path) -> None:
    """Vim with a swap file, its test file 4913, and a backup: backupcopy=no."""
    swap = path.parent / f".{path.name}.swp"
    swap.write_bytes(b"b0VIM")
    (path.parent / "4913").touch()
    (path.parent / "4913").unlink()
    backup = path.parent / f"{path.name}~"
    path.rename(backup)
    path.write_text(text(path.stem, 2), encoding="utf-8")
    swap.unlink()


def emacs(path: Path) -> None:
    """Emacs with its lock, autosave and backup, writing in place."""
    lock = path.parent / f".#{path.name}"
    lock.symlink_to("user@host.1234:1600000000")
    autosave = path.parent / f"#{path.name}#"
    autosave.write_text(text(path.stem, 3), encoding="utf-8")
    shutil.copy(path, path.parent / f"{path.name}~")
    path.write_text(text(path.stem, 2), encoding="utf-8")
    autosave.unlink()
    lock.unlink()


def nano(path: Path) -> None:
    """Nano with a lock file and a backup, truncating and writing in place."""
    lock = path.parent / f".{path.name}.swp"
    lock.write_bytes(b"b0nano")
    shutil.copy(path, path.parent / f"{path.name}~")
    with path.open("r+", encoding="utf-8") as file:
        file.truncate(0)
        file.write(text(path.stem, 2))
    lock.unlink()


def sed(path: Path) -> None:
    """`sed -i`: a file of a random name that is renamed."""
    aside = path.parent / "sedA1b2C3"
    aside.write_text(text(path.stem, 2), encoding="utf-8")
    aside.rename(path)


@pytest.mark.parametrize("save", [rename_over, vim, emacs, nano, sed])
def test_an_editors_save_is_one_change_and_leaves_no_machines(
    folder: Path, start: Start, save: Callable[[Path], None]
) -> None:
    put(folder / "b.yaml")
    following = start(folder, quiet=0.2)  # longer than an editor is interrupted on a busy machine
    save(folder / "a.yaml")
    following.expect("a=1 b=1", "a=2 b=1")
    assert following.missed() == 0


def test_files_come_and_go(folder: Path, start: Start) -> None:
    following = start(folder)
    put(folder / "b.yaml")
    following.expect("a=1", "a=1 b=1")
    (folder / "a.yaml").unlink()
    following.expect("a=1", "a=1 b=1", "b=1")


def test_new_folders_below_are_followed(folder: Path, start: Start) -> None:
    following = start(folder)
    put(folder / "x" / "y" / "b.yaml")
    following.expect("a=1", "a=1 b=1")
    following.settle()
    put(folder / "x" / "y" / "b.yaml", 2)
    following.expect("a=1", "a=1 b=1", "a=1 b=2")


def test_a_folder_moved_in_from_outside_is_followed(
    folder: Path, tmp_path: Path, start: Start
) -> None:
    put(tmp_path / "other" / "deep" / "b.yaml")
    following = start(folder)
    (tmp_path / "other").rename(folder / "other")
    following.expect("a=1", "a=1 b=1")
    following.settle()
    put(folder / "other" / "deep" / "b.yaml", 2)
    following.expect("a=1", "a=1 b=1", "a=1 b=2")
    assert following.missed() == 0


def test_a_folder_deleted_and_made_anew(folder: Path, start: Start) -> None:
    following = start(folder)
    shutil.rmtree(folder)
    wait_until(lambda: any("trouble" in one for one in list(following.ears.heard)))
    wait_until(following.watcher.is_armed)
    put(folder / "b.yaml")
    wait_until(lambda: following.sizes() == ["a=1", "b=1"])
    assert "recovered" in following.ears.heard
    following.settle()
    put(folder / "b.yaml", 2)
    following.expect("a=1", "b=1", "b=2")


def test_a_folder_renamed_away_and_a_new_one_renamed_in(
    folder: Path, tmp_path: Path, start: Start
) -> None:
    put(tmp_path / "new" / "b.yaml")
    following = start(folder)
    folder.rename(tmp_path / "old")
    (tmp_path / "new").rename(folder)
    following.expect("a=1", "b=1")
    following.settle()
    put(tmp_path / "old" / "a.yaml", 9)
    put(folder / "b.yaml", 2)
    following.expect("a=1", "b=1", "b=2")


def test_a_link_that_is_exchanged(tmp_path: Path, start: Start) -> None:
    put(tmp_path / "trees" / "one" / "vms" / "a.yaml")
    put(tmp_path / "trees" / "two" / "vms" / "a.yaml", 2)
    link, new = tmp_path / "current", tmp_path / "current.new"
    link.symlink_to("trees/one")
    following = start(link / "vms")
    new.symlink_to("trees/two")
    new.rename(link)
    following.expect("a=1", "a=2")
    following.settle()
    put(tmp_path / "trees" / "two" / "vms" / "a.yaml", 3)
    following.expect("a=1", "a=2", "a=3")
    assert following.missed() == 0


def test_a_linked_folder_below(folder: Path, tmp_path: Path, start: Start) -> None:
    put(tmp_path / "more" / "b.yaml")
    (folder / "more").symlink_to(tmp_path / "more")
    put(tmp_path / "files" / "c.txt").rename(tmp_path / "files" / "c")
    (folder / "c.yaml").symlink_to(tmp_path / "files" / "c")
    following = start(folder)
    put(tmp_path / "more" / "b.yaml", 2)
    following.expect("a=1 b=1 c=1", "a=1 b=2 c=1")
    (tmp_path / "files" / "c").write_text(text("c", 2), encoding="utf-8")
    following.expect("a=1 b=1 c=1", "a=1 b=2 c=1", "a=1 b=2 c=2")


def test_a_commit_in_a_work_tree(tmp_path: Path, start: Start) -> None:
    repository = Repository(tmp_path / "repo", {"vm/a.yaml": text("a")})
    following = start(repository.folder / "vm")
    repository.write({"vm/a.yaml": text("a", 5)})
    repository.commit({"vm/a.yaml": text("a", 2)})
    following.expect("a=1", "a=2")
    git(repository.folder, "pack-refs", "--all")
    git(repository.folder, "checkout", "--quiet", "--detach", "HEAD~1")
    following.expect("a=1", "a=2", "a=1")
    assert following.missed() == 0


def test_the_link_of_git_sync(tmp_path: Path, start: Start) -> None:
    main = Repository(tmp_path / "git", {"a.yaml": text("a")})
    trees = [main.head(), main.commit({"a.yaml": text("a", 2)})]
    for tree in trees:
        git(main.folder, "worktree", "add", "--quiet", "--detach", f".worktrees/{tree}", tree)
    link, new = main.folder / "current", main.folder / "current.tmp"
    link.symlink_to(f".worktrees/{trees[0]}")
    following = start(link)
    new.symlink_to(f".worktrees/{trees[1]}")
    new.rename(link)
    git(main.folder, "worktree", "remove", "--force", f".worktrees/{trees[0]}")
    following.expect("a=1", "a=2")
    assert following.missed() == 0


def test_checkouts_back_and_forth_publish_whole_commits_alone(tmp_path: Path, start: Start) -> None:
    many = [f"m{number:03d}" for number in range(200)]
    repository = Repository(tmp_path / "repo", machines(*many))
    first = repository.head()
    second = repository.commit(machines(*many, memory="2GiB"))
    following = start(repository.folder)
    for number in range(7):
        git(repository.folder, "checkout", "--quiet", "--detach", (first, second)[number % 2])
    wait_until(lambda: following.ears.published()[-1] == first)
    for snapshot in following.ears.snapshots:
        sizes = {
            each.machine.memory.size for each in snapshot.desired.machines if each.machine.memory
        }
        assert (len(snapshot.desired.machines), len(sizes)) == (200, 1)


def pass_look(following: Following) -> None:
    """Wait until another look has begun."""
    timer = following.pace._timer
    wait_until(lambda: following.pace._timer != timer)


def test_what_is_not_announced_is_found_counted_and_told(folder: Path, start: Start) -> None:
    following = start(folder, rescan=1.0)
    following.watcher._observation.stop()  # type: ignore[union-attr]
    following.watcher.is_armed = lambda: True  # type: ignore[method-assign]
    pass_look(following)
    pass_look(following)  # the one before may still have been after a hint
    following.pace._latest = None
    put(folder / "a.yaml", 2)
    following.expect("a=1", "a=2")
    wait_until(lambda: following.missed() == 1)
    wait_until(lambda: following.ears.told)
    pass_look(following)  # so that the next one leaves time for the announcement
    put(folder / "a.yaml", 3)
    following.expect("a=1", "a=2", "a=3")
    assert following.missed() == 1


# What the thread that reads from inotify calls with what it read, in watchdog 7 and in watchdog 6.
READER = (
    "watchdog.observers.inotify_c.InotifyFD.handle_event"
    if hasattr(inotify_c, "InotifyFD")
    else "watchdog.observers.inotify_buffer.InotifyBuffer._group_events"
)


def test_a_watchdog_thread_that_died_is_noticed(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader, behind whose back the observer and its emitters stay alive."""

    def die(*_: object) -> None:
        raise KeyError("as watchdog's own in a tree that changes quickly")

    following = start(folder)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        patch.setattr(READER, die)
        put(folder / "a.yaml", 2)
        wait_until(lambda: not following.watcher.is_armed())
    assert following.sizes() == ["a=1"]
    following.pace.hint()
    following.expect("a=1", "a=2")
    following.settle()
    put(folder / "a.yaml", 3)
    following.expect("a=1", "a=2", "a=3")


def test_our_own_reading_does_not_wake_us(folder: Path) -> None:
    hints: List[int] = []
    watcher = FileWatcher()
    assert watcher.watch((str(folder),), lambda: hints.append(1)) == "inotify"
    for _ in range(20):
        FolderSource(str(folder), SystemClock(), 0.0).read()
        os.listdir(folder)
        assert watcher.is_armed()
    put(folder / "z.yaml")
    wait_until(lambda: hints)
    wait_until(lambda: watcher._observation._observer.event_queue.empty())  # type: ignore[union-attr]
    for_one = len(hints)
    put(folder / "y.yaml")
    wait_until(lambda: len(hints) > for_one)
    assert for_one < 10
    watcher.stop()


def test_reading_a_commit_does_not_wake_us(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", machines("a"))
    source = WorkTreeSource(str(repository.folder))
    source.read()
    hints: List[int] = []
    watcher = FileWatcher()
    assert watcher.watch(source.places(), lambda: hints.append(1)) == "inotify"
    for _ in range(5):
        WorkTreeSource(str(repository.folder)).read()
    assert not hints
    repository.commit(machines("b"))
    wait_until(lambda: hints)
    watcher.stop()


def test_who_listens_may_fail_and_hears_the_next_change_all_the_same(folder: Path) -> None:
    heard: List[int] = []

    def fail() -> None:
        heard.append(1)
        raise RuntimeError("a listener's own trouble")

    watcher = FileWatcher()
    watcher.watch((str(folder),), fail)
    for cpus in (2, 3):
        heard.clear()
        put(folder / "a.yaml", cpus)
        wait_until(lambda: heard)
    assert watcher.is_armed()
    watcher.stop()


def test_a_burst_that_never_ends_starves_nobody(folder: Path, start: Start) -> None:
    following = start(folder)
    done = threading.Event()

    def burst() -> None:
        number = 0
        while not done.wait(0.002):
            number += 1
            (folder / "log.txt").write_text(str(number), encoding="utf-8")

    thread = threading.Thread(target=burst)
    thread.start()
    put(folder / "a.yaml", 2)
    try:
        following.expect("a=1", "a=2")
    finally:
        done.set()
        thread.join()


def test_watching_leaves_no_threads_and_no_descriptors(folder: Path) -> None:
    watcher = FileWatcher()
    watcher.watch((str(folder),), lambda: None)
    watcher.stop()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert watcher.watch((str(folder),), lambda: None) == "inotify"
    watcher.stop()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


LISTEN = """
import sys, threading
from reconciler.adapters.watch import FileWatcher
heard = threading.Event()
watcher = FileWatcher()
print(watcher.watch((sys.argv[1],), heard.set), flush=True)
while heard.wait(30):
    heard.clear()
    print(open(sys.argv[1] + "/a.yaml").read(), flush=True)
"""


def test_a_queue_that_ran_over_still_hints(folder: Path) -> None:
    """More events than the kernel keeps while nobody reads; what matters is among the lost."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="utf-8") as file:
        most = int(file.read())
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inotify\n"
    process.send_signal(signal.SIGSTOP)
    names = [folder / "x", folder / "y"]
    names[0].touch()
    for number in range(most // 2 + 10):
        names[number % 2].rename(names[1 - number % 2])
    (folder / "a.yaml").write_text("the last word", encoding="utf-8")
    process.send_signal(signal.SIGCONT)
    assert process.stdout.readline() == "the last word\n"
    process.kill()
    process.wait()
    process.stdout.close()
