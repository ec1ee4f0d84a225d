"""Events of real libvirt reach the listener, also after its daemon was restarted or hung."""

from __future__ import annotations

import os
import signal
import threading
from typing import Iterator, List, Tuple

import pytest

from reconciler.adapters.libvirt import connections
from reconciler.adapters.libvirt.connections import Connections, LibvirtEvents, run_event_loop
from tests.lab.host import LabHost
from tests.real.looping import killed_libvirtd, libvirtd

LIMIT = 120.0  # seconds; only a failure takes that long
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>
<os><type machine='pc'>hvm</type></os></domain>"""

run_event_loop()  # before the first connection of this process


class Ear:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: List[Tuple[str, str]] = []
        self.changed = threading.Condition()

    def _hear(self, *news: str) -> None:
        with self.changed:
            self.told.append((news[0], news[1]))
            self.changed.notify_all()

    def domain_changed(self, name: str) -> None:
        self._hear("domain", name)

    def domain_left(self, name: str) -> None:
        self._hear("left", name)

    def guest_changed(self, name: str) -> None:
        self._hear("guest", name)

    def surroundings_changed(self, kind: str, name: str) -> None:
        self._hear(kind, name)

    def reached(self, driver: str) -> None:
        self._hear("reached", driver)

    def lost(self, driver: str, reason: str) -> None:
        self._hear("lost", driver)

    def wait_for(self, *news: Tuple[str, str]) -> None:
        """Wait until all of these were told, and forget them."""
        with self.changed:
            met = self.changed.wait_for(lambda: set(news) <= set(self.told), LIMIT)
            assert met, f"{news} not in {self.told}"
            self.told.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEPALIVE_INTERVAL", 1)
    monkeypatch.setattr(connections, "KEEPALIVE_COUNT", 1)


@pytest.fixture
def ear(own_host: LabHost) -> Iterator[Ear]:
    ear, news = Ear(), LibvirtEvents(Connections(own_host.uri()))
    news.start(ear)
    ear.wait_for(("reached", "qemu"), ("reached", "storage"), ("reached", "network"))
    yield ear
    news.stop()


def define(host: LabHost, name: str) -> None:
    file = host.folder / "domain.xml"
    file.write_text(DOMAIN.format(name=name), encoding="ascii")
    host.virsh("define", str(file))


def test_what_happens_to_domains_networks_and_pools_is_told(own_host: LabHost, ear: Ear) -> None:
    define(own_host, "one")
    ear.wait_for(("domain", "one"))
    own_host.virsh("start", "one")
    ear.wait_for(("domain", "one"))
    own_host.virsh("metadata", "one", "urn:x", "--key", "x", "--set", "<x/>", "--live", "--config")
    ear.wait_for(("domain", "one"))
    own_host.virsh("destroy", "one")
    ear.wait_for(("domain", "one"))
    own_host.virsh("undefine", "one")
    ear.wait_for(("domain", "one"))
    own_host.virsh("net-destroy", "default")
    ear.wait_for(("network", "default"))
    own_host.virsh("net-start", "default")
    own_host.virsh("pool-destroy", "default")
    ear.wait_for(("pool", "default"), ("network", "default"))
    own_host.virsh("pool-start", "default")


def test_a_restarted_daemon_is_found_again_and_heard(own_host: LabHost, ear: Ear) -> None:
    with killed_libvirtd(own_host):
        ear.wait_for(("lost", "qemu"), ("lost", "storage"), ("lost", "network"))
    ear.wait_for(("reached", "qemu"), ("reached", "storage"), ("reached", "network"))
    define(own_host, "two")
    ear.wait_for(("domain", "two"))
    own_host.virsh("undefine", "two")


def test_a_daemon_that_hangs_is_noticed(own_host: LabHost, impatient: None, ear: Ear) -> None:
    pid = libvirtd(own_host)
    os.kill(pid, signal.SIGSTOP)
    try:
        ear.wait_for(("lost", "qemu"), ("lost", "storage"), ("lost", "network"))
    finally:
        os.kill(pid, signal.SIGCONT)
    ear.wait_for(("reached", "qemu"), ("reached", "storage"), ("reached", "network"))
