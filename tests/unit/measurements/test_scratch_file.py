"""The file that is measured: its own, without a name, and never where something else is."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Callable

import pytest

from reconciler.adapters.measurement import scratch_file
from reconciler.adapters.measurement.scratch_file import (
    MARK,
    PREFIX,
    make_scratch_file,
    open_folder,
    remove_leftovers,
)
from reconciler.errors import BusyError, FullError, ReconcilerError, RefusedError, TransientError

MIB = 2**20


def test_the_file_is_full_has_no_name_and_is_freed(tmp_path: Path) -> None:
    with make_scratch_file(str(tmp_path), 3 * MIB) as scratch:
        found = os.fstat(scratch.descriptor)
        assert list(tmp_path.iterdir()) == []
        assert (found.st_size, found.st_nlink) == (3 * MIB, 0)
        assert found.st_blocks * 512 >= 3 * MIB
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert len(set(os.pread(scratch.descriptor, MIB, MIB))) == 256
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(scratch.descriptor)


def test_the_file_of_a_file_system_without_unnamed_files_loses_its_name_at_once(
    tmp_path: Path,
) -> None:
    place = open_folder(str(tmp_path))
    descriptor = scratch_file._make_named(place)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(descriptor).st_nlink == 0
    os.close(descriptor)
    os.close(place)


def test_a_leftover_of_a_killed_run_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}1").write_bytes(b"")
    (tmp_path / f"{PREFIX}2").write_bytes(MARK + b"x" * 100)
    with make_scratch_file(str(tmp_path), MIB):
        assert list(tmp_path.iterdir()) == []


def _other(path: Path) -> Callable[[], None]:
    path.write_bytes(b"somebody's data")
    return lambda: None


def _used(path: Path) -> Callable[[], None]:
    path.write_bytes(MARK)
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return lambda: os.close(descriptor)


def _linked(path: Path) -> Callable[[], None]:
    path.write_bytes(MARK)
    os.link(path, path.with_name("other"))
    return lambda: None


def _link(path: Path) -> Callable[[], None]:
    path.with_name("other").write_bytes(MARK)
    path.symlink_to("other")
    return lambda: None


def _folder(path: Path) -> Callable[[], None]:
    path.mkdir()
    return lambda: None


def _pipe(path: Path) -> Callable[[], None]:
    os.mkfifo(path)
    return lambda: None


@pytest.mark.parametrize("make", [_other, _used, _linked, _link, _folder, _pipe])
def test_what_is_not_ours_or_in_use_is_never_removed(
    tmp_path: Path, make: Callable[[Path], Callable[[], None]]
) -> None:
    path = tmp_path / f"{PREFIX}1"
    end = make(path)
    before = sorted(tmp_path.iterdir())
    place = open_folder(str(tmp_path))
    assert remove_leftovers(place) == ()
    os.close(place)
    end()
    assert sorted(tmp_path.iterdir()) == before


def test_another_measurement_in_the_folder_is_not_disturbed(tmp_path: Path) -> None:
    with make_scratch_file(str(tmp_path), MIB):
        busy = pytest.raises(BusyError, match="another measurement runs there")
        with busy, make_scratch_file(str(tmp_path), MIB):
            raise AssertionError
    with make_scratch_file(str(tmp_path), MIB):
        pass


def _make_link(path: Path) -> Path:
    (path / "real").mkdir()
    (path / "link").symlink_to("real")
    return path / "link"


def _make_link_above(path: Path) -> Path:
    (path / "real" / "below").mkdir(parents=True)
    (path / "link").symlink_to("real")
    return path / "link" / "below"


def _make_image(path: Path) -> Path:
    (path / "disk.qcow2").write_bytes(b"QFI\xfb")
    return path / "disk.qcow2"


def _make_nothing(path: Path) -> Path:
    return path / "absent"


def _name_device(_path: Path) -> Path:
    return Path("/dev/null")


def _name_root(_path: Path) -> Path:
    return Path("/")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_make_link, "nothing is written through a link; .*--path .*/real$"),
        (_make_link_above, "nothing is written through a link; .*--path .*/real/below$"),
        (_make_image, "exists and is never written; "),
        (_make_nothing, "there is no such folder; make it: mkdir -p "),
        (_name_device, "is a device, and a device is never written"),
        (_name_root, "is the root of a mounted file system; .*mkdir /bench"),
    ],
)
def test_what_is_no_place_for_it_is_refused_and_untouched(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    path = make(tmp_path)
    before = {each: each.lstat().st_mtime_ns for each in tmp_path.rglob("*")}
    with pytest.raises(RefusedError, match=words), make_scratch_file(str(path), MIB):
        raise AssertionError
    assert {each: each.lstat().st_mtime_ns for each in tmp_path.rglob("*")} == before


def test_a_relative_path_is_refused_with_the_whole_one() -> None:
    with pytest.raises(RefusedError, match=r"is not an absolute path; give --path /"):
        open_folder("srv")


def test_a_file_that_does_not_fit_is_refused_with_one_that_does(tmp_path: Path) -> None:
    words = r"does not fit: .* are free, .*give --size \d+MiB or less"
    with pytest.raises(FullError, match=words), make_scratch_file(str(tmp_path), 2**50):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (28, FullError, "became full while the file was made"),
        (122, FullError, "became full while the file was made"),
        (30, RefusedError, "mounted read-only; see findmnt -T /srv"),
        (13, RefusedError, "this user may not write there"),
        (5, TransientError, "no file can be made there: Input/output error"),
    ],
)
def test_each_failure_of_the_storage_says_what_to_do(
    number: int, kind: type[ReconcilerError], words: str
) -> None:
    error = scratch_file._explain_write("/srv", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert words in str(error)
