"""A machine that moves here is never made a second time: the other hosts are asked first."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import pytest

from reconciler.adapters.libvirt.host import connect
from reconciler.core.conditions import READY
from reconciler.core.machine import Power
from reconciler.core.manifest import HostManifest
from tests.lab.host import LabHost, temporary_host
from tests.lab.keys import vm
from tests.real.commands import Command
from tests.real.looping import Looping, manifest
from tests.real.worlds import Product
from tests.unit.loop.fakes import MemoryStore

HERE = socket.gethostname()
HOSTS = """\
apiVersion: virt-reconciler/v1
kind: Host
metadata: {{name: here}}
spec: {{selector: [{here}]}}
---
apiVersion: virt-reconciler/v1
kind: Host
metadata: {{name: kvm02}}
spec: {{uri: "{uri}"}}
---
"""
WEB = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: web01}}
spec:
  placement: {{host: {here}}}
  cpus: 1
  memory: 64MiB
  power: stopped
  interfaces: []
  disks: [{{name: root, size: 8MiB}}]
"""


@pytest.fixture(scope="module")
def other() -> Iterator[LabHost]:
    """Return another host."""
    with temporary_host(kvm=False) as host:
        yield host


@pytest.fixture
def command(
    product: Product, lab: LabHost, other: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """Return the command beside the manifests of two hosts; the other one has the machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    command = Command(lab.uri(), tmp_path)
    command.write("there.yaml", WEB.format(here=HERE))
    Command(other.uri(), tmp_path)("apply", "--yes", "there.yaml")
    command.write("web01.yaml", HOSTS.format(here=HERE, uri=other.uri()) + WEB.format(here=HERE))
    yield command
    for name in other.virsh("list", "--all", "--name").stdout.split():
        other.virsh("undefine", name)
    other.virsh("vol-delete", "web01-root.qcow2", "default", check=False)


@pytest.mark.parametrize("name", ["web01", "renamed"])
def test_it_is_made_only_once_it_is_gone_there(
    command: Command, product: Product, other: LabHost, name: str
) -> None:
    if name != "web01":
        other.virsh("domrename", "web01", name)  # known by our mark
    seen = command("plan", "web01.yaml").stdout
    assert f"Host kvm02 has it (domain {name})" in seen
    assert "1 withheld" in seen
    command("apply", "--yes", "web01.yaml", status=4)
    assert product.host.domains.list_domains() == {}
    assert product.volumes() == set()
    other.virsh("undefine", name)
    command("apply", "--yes", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout


def test_a_person_may_say_that_it_is_another(command: Command, product: Product) -> None:
    command("apply", "--yes", "--here", "web01", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    assert set(product.host.domains.list_domains()) == {"web01"}


def test_a_host_that_cannot_be_asked_may_have_it(
    command: Command, product: Product, tmp_path: Path
) -> None:
    nowhere = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"
    command.write("web01.yaml", HOSTS.format(here=HERE, uri=nowhere) + WEB.format(here=HERE))
    seen = command("plan", "web01.yaml").stdout
    assert "cannot be asked whether it has web01" in seen
    assert "virt-reconciler apply --here web01 web01.yaml" in seen
    command("apply", "--yes", "web01.yaml", status=4)
    assert product.volumes() == set()
    command("apply", "--yes", "--here", "web01", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout


def test_the_daemon_remembers_where_a_machine_was_placed(own_host: LabHost, other: LabHost) -> None:
    store = MemoryStore()
    wanted = manifest(power=Power.STOPPED)
    there, here = replace(wanted, host="kvm02"), replace(wanted, host=HERE)
    before = Looping(own_host, store).start()
    before.publish(there)
    before.wait_quiet()
    before.stop()
    assert store.placements == {vm("vm"): "kvm02"}
    looping = Looping(own_host, store, connect=connect).start()
    try:
        looping.publish(here)
        looping.wait(lambda: "placed it on kvm02 before" in held(looping), "it is withheld")
        assert own_host.virsh("list", "--all", "--name").stdout.split() == []
        host = HostManifest("kvm02", here.place, ("kvm02",), uri=other.uri())
        other.virsh("define", str(write_domain(other)))
        looping.publish(here, hosts=(host,))
        looping.loop.retry_all()
        looping.wait(lambda: "Host kvm02 has it" in held(looping), "it was asked for")
        other.virsh("undefine", "vm")
        looping.loop.retry_all()
        looping.wait_ready("vm")
        looping.wait_quiet()
        assert store.placements == {}
        own_host.virsh("undefine", "vm")
    finally:
        looping.stop()


def held(looping: Looping) -> str:
    """Return why the machine is not as wanted."""
    return looping.record("vm").condition(READY).reason


def write_domain(host: LabHost) -> Path:
    """Write the definition of a domain of that name."""
    path = host.folder / "vm.xml"
    text = "<domain type='qemu'><name>vm</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    path.write_text(text, encoding="ascii")
    return path
