"""`bench host --guests`: real iperf3 in two tiny guests on a network of libvirt's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Dict, Sequence

import pytest

from reconciler.core.measurements.guest_script import NAME
from tests.lab.guest import Guest, boot_overlays
from tests.real.booting import LIMIT, Bench
from tests.real.commands import Command
from tests.real.scenarios import BASE, card
from tests.real.test_guest_bench import CONFIG

ADDRESSES = {"one": "10.99.0.1", "two": "10.99.0.2"}
FAST = ("--runtime", "1s", "--runs", "1")
SERVERS = f"""for p in /proc/[0-9]*; do
  tr '\\0' '\\n' <$p/cmdline 2>/dev/null | grep -qx -e {NAME}-server -e --server && echo $p
done; :"""


class GuestsOnNetwork:
    """Two guests with an address each."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        bench = replace(bench, boot_overlays=boot_overlays(tools=("iperf3",)))
        manifests = [
            bench.manifest(replace(BASE, name=name, interfaces=(card(name),))) for name in ADDRESSES
        ]
        for manifest in manifests:
            bench.apply(manifest)
        self.guests: Dict[str, Guest] = {name: Guest(bench.uri, name) for name in ADDRESSES}
        for name, guest in self.guests.items():
            guest.wait_ready(LIMIT)
            guest.exec("ip", "addr", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
        self.command = Command(bench.uri, folder)
        text = CONFIG.format(state=folder / "state")
        self.config = self.command.write("config.yaml", text)

    def words(self, *words: str) -> Sequence[str]:
        """Return the words of a measurement between the two."""
        return ("--config", str(self.config), "bench", "host", "--guests", *words)

    def list_servers(self) -> str:
        """Return what serves in the second guest."""
        return self.guests["two"].exec("sh", "-c", SERVERS)


@pytest.fixture
def pair(bench: Bench, tmp_path: Path) -> GuestsOnNetwork:
    """Return two guests that run."""
    return GuestsOnNetwork(bench, tmp_path)


def test_the_network_between_two_guests_is_measured_and_no_server_stays(
    pair: GuestsOnNetwork, bench: Bench
) -> None:
    done = pair.command(*pair.words("one", "two", *FAST, "--format", "json"))
    document = json.loads(done.stdout)
    found = {each["about"]: each for each in document["figures"]}
    assert set(found) == {"TCP, one to two", "TCP, two to one"}
    assert all(each["values"][0] > 2**20 for each in found.values())
    assert document["environment"]["machine"] == "one"
    assert document["environment"]["generation"]
    assert pair.list_servers() == ""

    killed = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "reconciler",
            "--connect",
            pair.command.uri,
            *pair.words("one", "two", "--runtime", "10m"),
        ],
        env=pair.command.environment,
    )
    with killed:
        bench.wait(lambda: killed.poll() is not None or pair.list_servers(), "it is served")
        assert killed.poll() is None, "it ended by itself"
        os.kill(killed.pid, signal.SIGINT)
    assert killed.returncode == 130
    bench.wait(lambda: not pair.list_servers(), "the server ends")  # its timer a second later

    pair.guests["two"].exec("rm", "/bin/iperf3")
    missing = pair.command(*pair.words("one", "two", *FAST), status=1)
    assert "guest two: iperf3 is not installed: dnf install iperf3" in missing.stderr
    same = pair.command(*pair.words("one", "one"), status=64)
    assert "give two different guests" in same.stderr
