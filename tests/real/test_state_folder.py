"""The daemon on a state folder that is full or read-only: it works, says so, and goes on after."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from tests.lab.host import LabHost
from tests.unit.cli.fakes import REAL, Result, call

LIMIT = 180.0  # seconds; only a failure takes that long
CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  source: {source}
  connect: "{uri}"
  state: {state}
  metrics: {{file: {metrics}}}
"""
MANIFEST = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: NAME}
spec: {os: generic, power: stopped, cpus: 1, memory: 64MiB, disks: [], interfaces: []}
"""


class Site:
    """A daemon in a process of its own, on a state folder that is a file system of its own."""

    def __init__(self, lab: LabHost, folder: Path) -> None:
        self.lab, self.state, self.metrics = lab, folder / "state", folder / "metrics.prom"
        self.manifests, self.log = folder / "manifests", folder / "log"
        self.config = folder / "config.yaml"
        self.state.mkdir()
        self.manifests.mkdir()
        self.process: List[subprocess.Popen[bytes]] = []

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(self.state)], check=True)

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.state)], check=True)

    def fill(self) -> None:
        with (self.state / "filler").open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    return

    def start(self, source: str) -> None:
        self.config.write_text(
            CONFIG.format(source=source, uri=self.lab.uri(), state=self.state, metrics=self.metrics)
        )
        command = [sys.executable, "-m", "reconciler", "--config", str(self.config), "run"]
        with self.log.open("wb") as log:
            self.process.append(subprocess.Popen(command, stderr=log, stdout=log))

    def write(self, name: str) -> None:
        (self.manifests / f"{name}.yaml").write_text(MANIFEST.replace("NAME", name))

    def status(self, *words: str) -> Result:
        return call(REAL, "--config", str(self.config), "status", *words)

    def measured(self) -> str:
        """Return the metrics, empty before the first are written."""
        return self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""

    def told(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"in vain until {what}; told:\n{self.told()}"
            assert self.process[0].poll() is None, self.told()
            time.sleep(0.1)

    def domains(self) -> List[str]:
        return self.lab.virsh("list", "--all", "--name").stdout.split()

    def stop(self) -> None:
        for one in self.process:
            one.terminate()
            one.wait(LIMIT)
        subprocess.run(["umount", "-l", str(self.state)], check=False)
        for name in self.domains():
            self.lab.virsh("undefine", name)


@pytest.fixture
def site(own_host: LabHost, tmp_path: Path) -> Iterator[Site]:
    site = Site(own_host, tmp_path)
    yield site
    site.stop()


@pytest.mark.parametrize("trouble", ["read-only", "full"])
def test_a_daemon_that_cannot_write_works_and_says_so_until_it_can(
    site: Site, trouble: str
) -> None:
    if trouble == "full":
        site.mount("-o", "size=64k")
        site.fill()
    else:
        site.mount("-o", "ro")
    site.write("web01")
    site.start(f"{{directory: {site.manifests}}}")
    site.wait(lambda: site.domains() == ["web01"], "the machine is made")
    [line] = [one for one in site.told().splitlines() if "without its state folder" in one]
    assert str(site.state) in line
    assert "Traceback" not in site.told()
    site.wait(lambda: "state_failing 1" in site.measured(), "the metrics say so")
    shown = site.status()
    assert "Memory: " in shown.out
    assert "Daemon: running" in shown.out
    assert "virt-reconciler status --live" in " ".join(shown.out.split())
    assert "web01" in site.status("--live").out

    if trouble == "full":
        (site.state / "filler").unlink()
    else:
        site.remount("rw")
    site.wait(lambda: "Ready" in site.status("web01").out, "the memory is written")
    site.wait(lambda: "state_failing 0" in site.measured(), "the metrics say so")
    assert "Memory: " not in site.status().out


def test_manifests_are_fetched_though_the_state_is_read_only(site: Site) -> None:
    site.write("web01")
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "one"),
    ):
        subprocess.run(["git", "-C", str(site.manifests), *words], check=True)
    site.mount("-o", "ro")
    site.start(f"{{git: {{url: {site.manifests}}}}}")
    site.wait(lambda: site.domains() == ["web01"], "the machine is made")
