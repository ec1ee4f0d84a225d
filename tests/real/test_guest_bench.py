"""`bench disk --guest` in the tiny guest, whose programs are busybox's: dd, and no fio."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import pytest

from reconciler.core.measurements.guest_script import NAME
from tests.lab.guest import Guest
from tests.real.booting import Bench
from tests.real.commands import Command
from tests.real.scenarios import BASE

DD = ("--profile", "dd_write", "--profile", "dd_read", "--size", "4MiB", "--runs", "2")
CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {{source: {{path: /}}, state: {state}}}
"""
LIST = f"for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline 2>/dev/null | grep -qx {NAME} && echo $p; done"


class MeasuredGuest:
    """A guest that is measured by the command."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.manifest = bench.manifest(BASE)
        self.guest: Guest = bench.boot(self.manifest)
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(state=folder / "state"), encoding="utf-8")
        self.command, self.config = Command(bench.uri, folder), config

    def words(self, *words: str) -> Sequence[str]:
        """Return the words of a measurement in the guest."""
        where = ("--guest", self.manifest.name, "--guest-path", "/tmp")
        return ("--config", str(self.config), "bench", "disk", *where, *words)

    def list_left(self) -> str:
        """Return what is left in the guest: files, and processes that keep one."""
        return self.guest.exec("sh", "-c", f"ls -A /tmp; {LIST}")


@pytest.fixture
def measured(bench: Bench, tmp_path: Path) -> MeasuredGuest:
    """Return a guest that runs."""
    return MeasuredGuest(bench, tmp_path)


def test_a_guest_is_measured_in_itself_and_nothing_is_left_there(measured: MeasuredGuest) -> None:
    missing = measured.command(*measured.words("--profile", "rand_read"), status=1)
    assert "fio is not installed: dnf install fio, apt install fio, in the guest" in missing.stderr
    done = measured.command(*measured.words(*DD, "--format", "json"))
    document = json.loads(done.stdout)
    environment = document["environment"]
    assert environment["machine"] == measured.manifest.name
    assert environment["generation"] == measured.manifest.generation
    assert environment["guestKernel"] == measured.guest.exec("uname", "-r").strip()
    assert 0 < environment["memory"] < 2**31
    assert environment["filesystem"] in ("tmpfs", "ramfs")
    assert {each["profile"] for each in document["results"]} == {"dd_write", "dd_read"}
    assert all(each["runs"][0]["seconds"] > 0 for each in document["results"])
    assert measured.list_left() == ""
    refused = measured.command(*measured.words(*DD, "--size", "64GiB"), status=4)
    assert "does not fit into /tmp" in refused.stderr
    link = measured.command(*measured.words(*DD, "--guest-path", "/var/run"), status=4)
    assert "/var/run leads through a link to /run" in link.stderr
    assert measured.list_left() == ""


def test_what_a_killed_run_leaves_in_a_guest_is_freed_by_the_next(measured: MeasuredGuest) -> None:
    killed = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "reconciler",
            "--connect",
            measured.command.uri,
            *measured.words(*DD),
        ],
        env=measured.command.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if "run 1 of" in line:
                break
        os.kill(killed.pid, signal.SIGKILL)
    assert "/proc/" in measured.list_left()  # it keeps the file for a while
    measured.command(*measured.words(*DD))
    assert measured.list_left() == ""


def test_a_guest_that_is_off_is_refused_with_what_to_do(
    measured: MeasuredGuest, bench: Bench
) -> None:
    bench.product.host.domains.power_off(measured.manifest.name)
    done = measured.command(*measured.words(*DD), status=1)
    assert f"start it: virsh start {measured.manifest.name}" in done.stderr


def test_a_pool_is_measured_with_a_warning_of_the_guests_on_it(measured: MeasuredGuest) -> None:
    words = ("--config", str(measured.config), "bench", "disk", "--pool", "default", *DD)
    done = measured.command(*words, "--format", "json")
    document = json.loads(done.stdout)
    assert document["environment"]["pool"] == "default"
    assert document["environment"]["qemu"]
    [warning] = [each for each in document["warnings"] if "run on this storage" in each]
    assert warning.startswith(f"{measured.manifest.name} run on this storage")
    missing = measured.command(*words[:5], "nowhere", *DD, status=64)
    assert "no active pool 'nowhere'; there are: default" in missing.stderr
