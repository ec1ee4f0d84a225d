"""`lifecycle.startAfter` on real libvirt: one guest starts when another's agent answers, not before.

One boot for all of it: without KVM a boot takes longer than the rest.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest

from tests.lab.guest import Guest, boot_overlays
from tests.lab.host import LabHost
from tests.real.booting import LIMIT
from tests.real.commands import Command
from tests.real.worlds import Product

WAITS = "app01: waits until db01 is ready: "
APPLICATION = """\
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: app01}
spec:
  cpus: 1
  memory: 64MiB
  power: running
  interfaces: []
  disks: [{name: root, size: 8MiB}]
  lifecycle: {startAfter: [db01]}
"""


def describe_database() -> str:
    """Return the manifest of a machine that boots the tests' guest."""
    spec = {
        "cpus": 1,
        "memory": "256MiB",
        "power": "running",
        "guestAgent": True,
        "disks": [],
        "interfaces": [],
        "xml": [{"xpath": each.xpath, "fragment": each.fragment} for each in boot_overlays()],
    }
    head = "apiVersion: virt-reconciler/v1\nkind: VirtualMachine\nmetadata: {name: db01}\n"
    return f"{head}spec: {json.dumps(spec)}\n"


def begin(command: Command) -> subprocess.Popen[str]:
    """Begin to apply everything."""
    words = [sys.executable, "-m", "reconciler", "--connect", command.uri, "apply", "--yes", "."]
    return subprocess.Popen(
        words, cwd=command.folder, env=command.environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def is_connected(product: Product) -> bool:
    """Whether the agent of the first guest has opened its channel."""
    return "state='connected'" in product.live_xml("db01")


def is_running(product: Product) -> bool:
    """Whether the second machine runs."""
    return product.host.domains.read_domain("app01").is_active


def test_a_guest_starts_when_the_agent_of_the_other_answers(
    product: Product, lab: LabHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    command = Command(lab.uri(), tmp_path_factory.mktemp("manifests"))
    command.write("all.yaml", describe_database() + APPLICATION)
    interrupt(begin(command))
    assert not is_running(product)
    assert "app01-root.qcow2" in product.volumes()
    uuid = find_uuid(product)

    applying = begin(command)
    booting = threading.Thread(target=Guest(lab.uri(), "db01").wait_ready, args=(LIMIT,))
    booting.start()
    while applying.poll() is None:
        assert not is_running(product) or is_connected(product)
    booting.join()
    said, _ = applying.communicate()
    assert applying.returncode == 0, said
    assert "app01: 1 change applied, started" in said
    assert is_running(product)
    assert find_uuid(product) == uuid
    command("plan", "--detailed-exitcode", ".")


def find_uuid(product: Product) -> str:
    """Return which domain the second machine is."""
    return product.host.domains.read_domain("app01").uuid


def interrupt(applying: subprocess.Popen[str]) -> None:
    """Press Ctrl-C when it waits for the first guest, which boots."""
    assert applying.stdout is not None
    said = ""
    while WAITS not in said:
        line = applying.stdout.readline()
        assert line, said
        said += line
    applying.send_signal(signal.SIGINT)
    rest, _ = applying.communicate(timeout=LIMIT)
    assert applying.returncode == 130, said + rest
    assert "app01: defined but not started: interrupted while it waited until db01 is ready" in rest
    assert "the next apply starts it" in rest
