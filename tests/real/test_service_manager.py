"""The adapters for systemd beside the real one: a machine of its own, with journald."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from reconciler.core import events
from tests.lab.container import Container, temporary_container

ROOT = Path(__file__).parents[2]
UNIT = "notifier.service"

# A daemon with nothing but its notifications; it does what it is told through a pipe.
DAEMON = f"""\
import os, sys, time
sys.path.insert(0, "{ROOT}")
from reconciler.adapters.systemd import SystemdSupervisor, open_journal
from reconciler.core import events
from reconciler.core.events import Event
from reconciler.core.key import Key
supervisor = SystemdSupervisor(os.environ)
journal = open_journal(sys.stderr, os.environ)
os.mkfifo("/run/orders")
supervisor.status("starting\\nREADY=1")
with open("/run/orders") as orders:
    orders.readline()
supervisor.ready()
supervisor.status("37 machines")
journal.tell(Event(
    events.INVALID, "two\\nlines", object=Key("VirtualMachine", "web01"), action="update", effect="live",
    revision="0123abc", fields={{"path": "cpus"}},
))
print("plain", file=sys.stderr, flush=True)
ends = time.monotonic() + 3 * supervisor.watchdog_interval
while time.monotonic() < ends:  # longer than systemd would wait without a sign of life
    supervisor.alive()
    time.sleep(supervisor.watchdog_interval / 5)
supervisor.status("stuck")
time.sleep(3600)
"""
SERVICE = f"""\
[Service]
Type=notify
WatchdogSec=2
ExecStart={sys.executable} /opt/daemon.py
"""


@pytest.fixture
def machine() -> Iterator[Container]:
    """Return a machine with the service and the catalog, the service not started."""
    with temporary_container() as container:
        container.write("/opt/daemon.py", DAEMON)
        container.write(f"/run/systemd/system/{UNIT}", SERVICE)
        catalog = ROOT / "packaging" / "virt-reconciler.catalog"
        container.write("/usr/lib/systemd/catalog/virt-reconciler.catalog", catalog.read_text())
        container.run("journalctl", "--update-catalog")
        yield container


def entries(machine: Container, *words: str) -> List[Dict[str, str]]:
    """Return the journal's entries that fit."""
    machine.run("journalctl", "--sync")
    lines = machine.run("journalctl", "-q", "-o", "json", *words).stdout.splitlines()
    return [json.loads(line) for line in lines]


def show(machine: Container, what: str) -> str:
    """Return a property of the service."""
    return machine.systemctl("show", "-P", what, UNIT)


def test_a_service_is_up_shown_heard_of_and_killed_when_stuck(machine: Container) -> None:
    machine.systemctl("start", "--no-block", UNIT)
    machine.wait(lambda: show(machine, "StatusText") == "starting READY=1", "it is starting")
    assert show(machine, "ActiveState") == "activating"

    machine.run("sh", "-c", "echo go >/run/orders")
    machine.wait(lambda: show(machine, "ActiveState") == "active", "it is up")
    machine.wait(lambda: show(machine, "StatusText") == "37 machines", "it shows a line")

    machine.wait(lambda: show(machine, "StatusText") == "stuck", "it gave signs of life")
    machine.wait(lambda: show(machine, "Result") == "watchdog", "systemd kills it")

    check_messages(machine)


def check_messages(machine: Container) -> None:
    """Its messages can be filtered, and are explained."""
    (entry,) = entries(machine, "VIRT_RECONCILER_OBJECT=web01")
    expected = {
        "MESSAGE": "web01: two lines",
        "MESSAGE_ID": events.INVALID.message_id,
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "virt-reconciler",
        "VIRT_RECONCILER_KIND": "invalid-manifest",
        "VIRT_RECONCILER_ACTION": "update",
        "VIRT_RECONCILER_EFFECT": "live",
        "VIRT_RECONCILER_REVISION": "0123abc",
        "VIRT_RECONCILER_PATH": "cpus",
        "_SYSTEMD_UNIT": UNIT,
        "_TRANSPORT": "journal",
    }
    assert {name: entry.get(name) for name in expected} == expected
    words = ("-q", "-x", f"MESSAGE_ID={events.INVALID.message_id}")
    explained = machine.run("journalctl", *words).stdout
    assert "`virt-reconciler validate` reports every" in explained
    assert [one["MESSAGE"] for one in entries(machine, "_TRANSPORT=stdout", "-u", UNIT)] == [
        "plain"
    ]
