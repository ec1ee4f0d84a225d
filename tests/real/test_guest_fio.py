"""`bench disk --guest` with real fio in the tiny guest, on a disk with a file system."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Sequence

import pytest

from reconciler.core.machine import Memory
from tests.lab.guest import Guest, boot_overlays
from tests.real.booting import LIMIT, Bench
from tests.real.commands import Command
from tests.real.scenarios import BASE
from tests.real.test_guest_bench import CONFIG, LIST
from tests.real.worlds import MIB

FOLDER = "/mnt"
MOUNT = f"mke2fs -F /dev/vda >/dev/null && mkdir -p {FOLDER} && mount -t ext4 /dev/vda {FOLDER}"
SECTORS_READ = "cut -c1- /sys/block/vda/stat"
READ = 2  # the column of the sectors that were read
# The agent ends, and another one is there some seconds later, as systemd would have it.
LOSE_AGENT = """sleep 1  # until it has answered
killall qemu-ga
sleep 3
qemu-ga -m virtio-serial -p /dev/agent --retry-path -t /run >/dev/null 2>&1"""
LEFT = f"{LIST}; ls -A {FOLDER} | grep -v lost+found; pgrep -x fio; :"
FAST = ("--size", "8MiB", "--runs", "2", "--profile", "rand_read")


class FioGuest:
    """A guest with fio, and a file system on its disk."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        bench = replace(bench, boot_overlays=boot_overlays(tools=("fio", "iperf3")))
        self.manifest = bench.manifest(replace(BASE, memory=Memory(768 * MIB)))
        self.guest: Guest = bench.boot(self.manifest)
        self.guest.exec("sh", "-c", MOUNT)
        self.command = Command(bench.uri, folder)
        self.config = self.command.write("config.yaml", CONFIG.format(state=folder / "state"))

    def words(self, *words: str) -> Sequence[str]:
        """Return the words of a measurement in the guest."""
        where = ("--guest", self.manifest.name, "--guest-path", FOLDER, *FAST)
        return ("--config", str(self.config), "bench", "disk", *where, *words)

    def begin(self) -> subprocess.Popen[str]:
        """Begin a measurement, and return when fio is about to run."""
        command = [sys.executable, "-m", "reconciler", "--connect", self.command.uri]
        process = subprocess.Popen(
            [*command, *self.words("--runtime", "20s")],
            env=self.command.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "run 1 of" in line:
                break
        return process

    def count_read(self) -> int:
        """Return the bytes that the guest has read from its disk."""
        return int(self.guest.exec("sh", "-c", SECTORS_READ).split()[READ]) * 512

    def list_left(self) -> str:
        """Return what is left in the guest: files, and processes."""
        return self.guest.exec("sh", "-c", LEFT)


@pytest.fixture
def fio_guest(bench: Bench, tmp_path: Path) -> FioGuest:
    """Return a guest that runs."""
    return FioGuest(bench, tmp_path)


def test_fio_in_a_guest_is_measured_and_nothing_is_left_whatever_is_lost(
    fio_guest: FioGuest, bench: Bench
) -> None:
    before = fio_guest.count_read()
    done = fio_guest.command(*fio_guest.words("--runtime", "1s", "--format", "json"))
    document = json.loads(done.stdout)
    total = fio_guest.count_read() - before
    found = {each["direct"]: each for each in document["results"]}
    assert {each["tool"] for each in found.values()} == {"fio"}
    [direct], [buffered] = found[True]["runs"], found[False]["runs"]
    assert direct["read"]["iops"] == pytest.approx(
        direct["read"]["total"] / 4096 / direct["seconds"], rel=0.1
    )
    assert direct["read"]["latency"]["p50"] > 0
    # The guest's kernel counted what fio read past its cache, and at most the rest besides.
    assert direct["read"]["total"] <= total
    assert total <= direct["read"]["total"] + buffered["read"]["total"] + 12 * MIB
    assert document["environment"]["filesystem"] == "ext4"
    assert document["environment"]["disk"]["bus"] == "virtio"
    assert fio_guest.list_left() == ""

    process = fio_guest.begin()
    fio_guest.guest.ask("guest-exec", path="/bin/sh", arg=["-c", LOSE_AGENT])
    _, notes = process.communicate()
    assert process.returncode == 1
    assert f"guest {fio_guest.manifest.name}: asking its agent: " in notes
    fio_guest.guest.wait_answers(LIMIT)
    bench.wait(lambda: not fio_guest.list_left(), "what kept the file ends")

    process = fio_guest.begin()
    bench.product.host.domains.power_off(fio_guest.manifest.name)
    _, notes = process.communicate()
    assert process.returncode == 1
    assert f"guest {fio_guest.manifest.name} went off while it was measured" in notes
