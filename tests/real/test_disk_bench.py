"""`bench disk` with real fio, dd and hdparm: what it reports, and that it leaves nothing behind."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

import pytest

from reconciler.core.measurements.fio import PROFILES, FioJob, make_command, read_output
from reconciler.core.measurements.values import Limits

ROOT = Path(__file__).parents[2]
MIB = 2**20
CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {{source: {{path: /}}, state: {state}}}
"""
FAST = ("--size", "8MiB", "--runtime", "1s", "--runs", "2")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


class Measuring:
    """The command, with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.config, self.state = folder / "config.yaml", folder / "state"
        self.config.write_text(CONFIG.format(state=self.state), encoding="utf-8")

    def words(self, *words: str) -> Sequence[str]:
        """Return the whole command line."""
        options = ("--config", str(self.config), "--connect", "test:///default")
        return (sys.executable, "-m", "reconciler", *options, "bench", *words)

    def call(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        done = subprocess.run(
            self.words(*words), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return done

    def measure(self, folder: Path, *words: str) -> Any:
        """Measure in a folder and return the document."""
        done = self.call("disk", "--path", str(folder), *FAST, "--format", "json", *words)
        return json.loads(done.stdout)


@pytest.fixture
def measuring(tmp_path: Path) -> Measuring:
    """Return the command."""
    return Measuring(tmp_path)


@contextmanager
def mount(kind: str, folder: Path, size: int = 64 * MIB) -> Iterator[Path]:
    """Mount a new file system, and yield a folder in it."""
    point = folder / "mount"
    point.mkdir()
    options = ["-t", kind]
    if kind in ("tmpfs", "ramfs"):
        subprocess.run(["mount", *options, "none", str(point)], check=True)
    else:
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(size)
        make = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"]}[kind]
        subprocess.run([*make, str(image)], check=True, capture_output=True)
        subprocess.run(["mount", *options, "-o", "loop", str(image), str(point)], check=True)
    try:
        (point / "bench").mkdir()
        yield point / "bench"
    finally:
        subprocess.run(["umount", str(point)], check=True)


def result_of(document: Any, profile: str, *, direct: bool) -> Any:
    """Return the result of a profile."""
    [found] = [
        each
        for each in document["results"]
        if each["profile"] == profile and each["direct"] is direct
    ]
    return found


def test_every_profile_is_measured_in_both_ways_and_kept(
    measuring: Measuring, tmp_path: Path
) -> None:
    folder = tmp_path / "bench"
    folder.mkdir()
    document = measuring.measure(folder, "--label", "first")
    found = {(each["profile"], each["direct"]) for each in document["results"]}
    names = [*PROFILES, "dd_write", "dd_read"]
    assert found == {(name, direct) for name in names for direct in (True, False)}
    for result in document["results"]:
        [run] = result["runs"]
        flows = [flow for flow in (run["read"], run["write"]) if flow is not None]
        assert len(flows) == (2 if result["profile"] == "rand_rw" else 1)
        for flow in flows:
            assert flow["total"] > 0
            assert flow["bandwidth"] == pytest.approx(flow["total"] / run["seconds"], rel=0.1)
    share = result_of(document, "rand_rw", direct=True)["runs"][0]
    assert share["read"]["iops"] / share["write"]["iops"] == pytest.approx(7 / 3, rel=0.15)
    assert list(folder.iterdir()) == []
    listed = measuring.call("list", "first")
    assert f"{document['id']} (first)" in listed.stdout
    assert "rand_read" in listed.stdout


def test_each_engine_and_depth_has_a_row_that_names_it(
    measuring: Measuring, tmp_path: Path
) -> None:
    ways = ("--engine", "io_uring", "--engine", "libaio", "--depth", "16", "--depth", "32")
    done = measuring.call(
        *("disk", "--path", str(tmp_path), *FAST, "--profile", "rand_read", *ways)
    )
    rows = [line.split()[:4] for line in done.stdout.splitlines()]
    for mode in ("direct", "buffered"):
        for engine in ("io_uring", "libaio"):
            for depth in ("16", "32"):
                assert ["rand_read", mode, engine, depth] in rows


def test_direct_reads_are_what_the_kernel_read_from_the_storage(
    measuring: Measuring, tmp_path: Path
) -> None:
    with mount("ext4", tmp_path) as folder:
        document = measuring.measure(folder, "--profile", "rand_read", "--profile", "dd_read")
    for profile in ("rand_read", "dd_read"):
        [run] = result_of(document, profile, direct=True)["runs"]
        assert run["fromStorage"] == pytest.approx(run["read"]["total"], rel=0.01)


def test_numbers_are_fios_own(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 * MIB))
    job = FioJob(
        PROFILES["seq_read"],
        path=str(path),
        size=8 * MIB,
        seconds=1,
        direct=False,
        depth=1,
        engine="psync",
    )
    done = subprocess.run(make_command(job, Limits()), capture_output=True, text=True, check=True)
    own = json.loads(done.stdout)["jobs"][0]["read"]
    run = read_output(done.stdout).run
    assert run.read is not None
    assert (run.read.total, run.read.bandwidth) == (own["io_bytes"], own["bw_bytes"])
    assert run.read.total == own["total_ios"] * MIB
    assert run.read.latency is not None
    assert run.read.latency.p99 == own["lat_ns"]["percentile"]["99.000000"] / 1000


def test_hdparm_only_reads_the_device(measuring: Measuring, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(os.urandom(16 * MIB))
    before = hashlib.sha256(image.read_bytes()).hexdigest()
    attached = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", str(image)],
        capture_output=True,
        text=True,
        check=True,
    )
    device = attached.stdout.strip()
    try:
        done = measuring.call("disk", "--device", device, "--runs", "2", "--format", "json")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    document = json.loads(done.stdout)
    assert {each["profile"] for each in document["results"]} == {"cache_read", "device_read"}
    assert all(each["runs"][0]["read"]["bandwidth"] > MIB for each in document["results"])
    assert hashlib.sha256(image.read_bytes()).hexdigest() == before


def test_a_nearly_full_file_system_is_refused_with_what_fits(
    measuring: Measuring, tmp_path: Path
) -> None:
    with mount("ext4", tmp_path) as folder:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        (folder / "other").write_bytes(b"x" * (free - 8 * MIB))
        done = measuring.call("disk", "--path", str(folder), *FAST, status=1)
        assert "a file of 8.0MiB does not fit" in done.stderr
        fitting = done.stderr.split("give --size ")[1].split(" ")[0]
        measuring.measure(folder, "--profile", "dd_read", "--size", fitting)
        assert [each.name for each in folder.iterdir()] == ["other"]


def test_a_read_only_file_system_is_refused(measuring: Measuring, tmp_path: Path) -> None:
    with mount("ext4", tmp_path) as folder:
        subprocess.run(["mount", "-o", "remount,ro", str(folder.parent)], check=True)
        done = measuring.call("disk", "--path", str(folder), *FAST, status=4)
    assert "its file system is mounted read-only" in done.stderr


def test_a_file_system_in_memory_is_said_to_be_only_memory(
    measuring: Measuring, tmp_path: Path
) -> None:
    with mount("tmpfs", tmp_path) as folder:
        done = measuring.call("disk", "--path", str(folder), *FAST, "--profile", "seq_read")
    assert "the file system is tmpfs, so this was only memory" in done.stdout


def test_a_file_system_without_direct_io_is_measured_buffered_and_that_is_said(
    measuring: Measuring, tmp_path: Path
) -> None:
    with mount("ramfs", tmp_path) as folder:
        document = measuring.measure(folder, "--profile", "seq_read")
    assert {each["direct"] for each in document["results"]} == {False}
    assert "ramfs has no direct I/O; measured only buffered" in document["warnings"]


def wait_for_all_of(process: subprocess.Popen[str]) -> None:
    """Wait until the command and all that it started have ended."""
    process.wait()
    while True:
        try:
            os.waitpid(-process.pid, 0)
        except ChildProcessError:
            return


# A note of the command → the profile of which it comes.
STAGES = {"making a file": "seq_read", "seq_read direct": "seq_read", "dd_write direct": "dd_write"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_is_stopped(
    measuring: Measuring, tmp_path: Path, number: signal.Signals, stage: str
) -> None:
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    with mount("ext4", tmp_path) as folder:
        (folder / "other").write_bytes(b"x" * MIB)
        os.sync()
        before = os.statvfs(folder).f_bfree
        profile = ("--profile", STAGES[stage])
        words = ("disk", "--path", str(folder), "--size", "32MiB", "--runtime", "60s", *profile)
        process = subprocess.Popen(
            measuring.words(*words),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            assert process.stderr is not None
            for line in process.stderr:
                if stage in line:
                    break
            process.send_signal(number)
            wait_for_all_of(process)
        os.sync()
        assert [each.name for each in folder.iterdir()] == ["other"]
        assert (folder / "other").read_bytes() == b"x" * MIB
        assert os.statvfs(folder).f_bfree == pytest.approx(before, abs=256)
    assert not (measuring.state / "measurements").exists()


def test_a_host_is_measured_by_the_programs_that_are_installed(measuring: Measuring) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ("iperf3", "--server", "--port", port, "--forceflush")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if "Server listening" in line:
                break
        options = ("--runtime", "1s", "--runs", "1", "--iperf3", f"127.0.0.1:{port}")
        done = measuring.call("host", *options, "--format", "json")
        server.kill()
    document = json.loads(done.stdout)
    subjects = {figure["subject"] for figure in document["figures"]}
    assert subjects == {"processor", "memory", "network"}
    assert all(value > 0 for figure in document["figures"] for value in figure["values"])
    assert document["id"] in measuring.call("list").stdout
