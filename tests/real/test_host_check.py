"""libvirt's daemons beside real systemd: what is right, what is repaired, what is never stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
import yaml

from tests.lab.container import Container, temporary_container
from tests.lab.modular import DRIVERS, make_modular, make_monolithic, sockets, write_units

ROOT = Path(__file__).parents[2]
CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {connect: "qemu:///system", state: /var/lib/vr-daemons, source: {directory: /srv/looped}}
"""
PYTHON = ROOT / ".venv" / "bin" / "python"
HOST = "/srv/host.yaml"
GUEST = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>
"""


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """Return a machine that has libvirtd and stand-ins for the modular daemons."""
    with temporary_container() as machine:
        write_units(machine, timeout=1)
        yield machine


@pytest.fixture
def modular(container: Container) -> Container:
    """Return the machine as Rocky 9 is after its installation."""
    make_modular(container)
    return container


@pytest.fixture
def monolithic(container: Container) -> Container:
    """Return the machine with libvirtd alone."""
    make_monolithic(container)
    return container


def product(machine: Container, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the machine; Debian's client needs the URI to look for virtqemud."""
    python = str(PYTHON if PYTHON.exists() else sys.executable)
    command = (python, "-m", "reconciler", "-c", "qemu:///system", *words)
    return machine.run("env", "-C", str(ROOT), *command, check=False)


def write_host(machine: Container, **daemons: Any) -> None:
    """Write the Host manifest: modular, with what it names."""
    head = {"apiVersion": "virt-reconciler/v1", "kind": "Host", "metadata": {"name": "kvm01"}}
    text = yaml.safe_dump({**head, "spec": {"daemons": {"mode": "modular", **daemons}}})
    machine.write(HOST, text)


def write_machine(machine: Container, *daemons: str) -> str:
    """Write the manifest of a machine that requires daemons, and return its path."""
    head = {"apiVersion": "virt-reconciler/v1", "kind": "VirtualMachine"}
    spec = {"cpus": 1, "memory": "16MiB", "power": "stopped", "requiredDaemons": [*daemons]}
    machine.write(
        "/srv/vm.yaml", yaml.safe_dump({**head, "metadata": {"name": "vm"}, "spec": spec})
    )
    return "/srv/vm.yaml"


def check(machine: Container, *words: str) -> Dict[str, Any]:
    """Return what `host check` finds, by daemon, and the client's daemon under its URI."""
    done = product(machine, "host", "check", "--format", "json", *words)
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["right"] else 1), done.stdout + done.stderr
    found = {one["name"]: one for one in document["daemons"]}
    return {**found, document["client"]["uri"]: document["client"], "mode": document["mode"]}


def state(machine: Container, unit: str) -> str:
    """Return a unit's state."""
    return machine.systemctl("is-active", unit, check=False)


def reasons(found: Dict[str, Any]) -> str:
    """Return what is wrong with a daemon."""
    return "; ".join(one["reason"] for one in found["faults"])


def test_a_daemon_that_exited_idle_is_right_and_answers(modular: Container) -> None:
    modular.run("virsh", "-c", "network:///system", "net-list")
    idle = "virtnetworkd exits, as nobody needs it"
    modular.wait(lambda: state(modular, "virtnetworkd.service") == "inactive", idle)
    write_host(modular, required=[*DRIVERS])
    found = check(modular, HOST)
    for name in DRIVERS:
        assert (found[name]["verdict"], found[name]["idle"]) == ("right", True)
        assert found[name]["answers"]["unit"] == f"{name}.service"
    client = found["qemu:///system"]
    assert (client["daemon"], client["answers"]["unit"]) == ("virtqemud", "virtqemud.service")
    assert found["libvirtd"]["verdict"] == "off"
    assert state(modular, "libvirtd.service") == "inactive"


def test_a_monolithic_host_is_right_without_manifests(monolithic: Container) -> None:
    found = check(monolithic)
    assert found["mode"] == "monolithic"
    assert found["libvirtd"]["verdict"] == "right"
    assert found["qemu:///system"]["answers"]["unit"] == "libvirtd.service"
    assert {found[driver]["verdict"] for driver in DRIVERS} == {"off"}
    table = product(monolithic, "host", "check").stdout
    assert "A client of qemu:///system reaches libvirtd.service" in table


def test_without_rights_nobody_guesses_who_answers(modular: Container) -> None:
    modular.run("mkdir", "-p", "-m", "755", "/opt/product")
    modular.run("cp", "-rL", f"{ROOT}/reconciler", "/opt/product")  # where everybody may read it
    modular.run("chmod", "-R", "go=u-w", "/opt/product")
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "-C")
    command = ("python3", "-m", "reconciler", "-c", "qemu:///system", "host", "check")
    done = modular.run(*user, "/opt/product", *command, check=False)
    assert (done.returncode, "run as root to see who answers" in done.stdout) == (0, True), done


def test_a_stopped_socket_is_wrong_and_repaired(modular: Container) -> None:
    modular.systemctl("disable", "--now", *sockets("virtnetworkd"), "virtnetworkd.service")
    write_host(modular, required=[*DRIVERS])
    assert reasons(check(modular, HOST)["virtnetworkd"]).startswith("virtnetworkd.socket is")
    assert product(modular, "plan", HOST).stdout.count("! withheld") == len(sockets("virtnetworkd"))
    write_host(modular, required=[*DRIVERS], action="ensure")
    plan = product(modular, "plan", HOST).stdout
    line = "~ live  daemons[virtnetworkd].socket: disabled, stopped → enabled, listening"
    assert line in plan
    done = product(modular, "apply", "--yes", HOST)
    assert "Applied: 0 created, 1 changed" in done.stdout, done.stderr
    assert product(modular, "plan", "--detailed-exitcode", HOST).returncode == 0
    assert modular.systemctl("is-enabled", "virtnetworkd.socket") == "enabled"
    modular.run("virsh", "-c", "network:///system", "net-list")


def test_a_machine_whose_daemon_is_missing_is_withheld_and_made_when_it_is_back(
    modular: Container,
) -> None:
    path = write_machine(modular, "virtqemud", "virtnetworkd")
    modular.systemctl("stop", *sockets("virtnetworkd"), "virtnetworkd.service")
    done = product(modular, "apply", "--yes", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "! vm: withheld, required daemon: virtnetworkd.socket is stopped" in done.stdout
    assert "0 unchanged, 1 withheld." in done.stdout
    assert modular.virsh("list", "--all", "--name").stdout.strip() == ""
    modular.systemctl("start", *sockets("virtnetworkd"))
    assert "1 created" in product(modular, "apply", "--yes", path).stdout
    modular.virsh("undefine", "vm")


def test_libvirts_own_daemon_is_brought_back_where_it_could_not_be_reached(
    modular: Container,
) -> None:
    path = write_machine(modular, "virtqemud")
    modular.systemctl("stop", *sockets("virtqemud"), "virtqemud.service")
    write_host(modular, required=["virtqemud"], action="ensure")
    done = product(modular, "apply", "--yes", HOST, path)
    assert "! vm: withheld, required daemon: virtqemud.socket is stopped" in done.stdout
    assert "1 changed" in done.stdout
    assert "1 created" in product(modular, "apply", "--yes", HOST, path).stdout
    modular.virsh("undefine", "vm")


def test_libvirtd_beside_modular_daemons_is_wrong_and_never_woken(modular: Container) -> None:
    modular.systemctl("enable", "--now", "libvirtd.socket")
    write_host(modular, required=[*DRIVERS], action="ensure")
    found = check(modular, HOST)
    assert found["libvirtd"]["verdict"] == "wrong"
    assert "the host's mode does not use it" in reasons(found["libvirtd"])
    product(modular, "apply", "--yes", HOST)
    assert state(modular, "libvirtd.socket") == "active"  # not named in `forbidden`
    assert state(modular, "libvirtd.service") == "inactive"
    write_host(modular, required=[*DRIVERS], forbidden=["libvirtd"], action="ensure")
    assert product(modular, "apply", "--yes", HOST).returncode == 0
    assert state(modular, "libvirtd.socket") == "inactive"
    assert modular.run("systemctl", "start", "libvirtd.service", check=False).returncode != 0
    assert product(modular, "plan", "--detailed-exitcode", HOST).returncode == 0
    assert check(modular, HOST)["libvirtd"]["verdict"] == "off"


def test_libvirtd_is_not_stopped_while_it_holds_a_guest(monolithic: Container) -> None:
    monolithic.write("/srv/guest.xml", GUEST.format(name="alive"))
    monolithic.virsh("create", "/srv/guest.xml")
    write_host(monolithic, required=["virtqemud"], forbidden=["libvirtd"], action="ensure")
    done = product(monolithic, "apply", "--yes", HOST)
    assert "never while guests run (alive)" in done.stdout
    assert "starting it would stop libvirtd" in done.stdout
    assert state(monolithic, "libvirtd.service") == "active"
    assert monolithic.virsh("domstate", "alive").stdout.strip() == "running"
    monolithic.virsh("destroy", "alive")
    done = product(monolithic, "apply", "--yes", HOST)
    assert done.returncode == 0, done.stdout + done.stderr
    found = check(monolithic, HOST)
    assert (found["libvirtd"]["verdict"], found["virtqemud"]["verdict"]) == ("off", "right")
    assert found["qemu:///system"]["answers"]["unit"] == "virtqemud.service"


def test_what_a_person_masked_is_told_and_left(modular: Container) -> None:
    modular.systemctl("mask", "--runtime", "virtstoraged.socket")
    modular.systemctl("stop", *sockets("virtstoraged"), "virtstoraged.service")
    write_host(modular, required=["virtstoraged"], action="ensure")
    assert "virtstoraged.socket was masked" in reasons(check(modular, HOST)["virtstoraged"])
    product(modular, "apply", "--yes", HOST)
    assert state(modular, "virtstoraged.socket") == "inactive"


def test_a_service_that_fails_is_no_idle_one_and_is_started_again(modular: Container) -> None:
    drop_in = "/run/systemd/system/virtstoraged.service.d/broken.conf"
    modular.write(drop_in, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    modular.systemctl("daemon-reload")
    modular.systemctl("start", "virtstoraged.service", check=False)
    write_host(modular, required=["virtstoraged"], action="ensure")
    found = check(modular, HOST)["virtstoraged"]
    assert (found["verdict"], "virtstoraged.service failed" in reasons(found)) == ("wrong", True)
    done = product(modular, "apply", "--yes", HOST)
    assert (done.returncode, "virtstoraged.service failed" in done.stderr) == (1, True)
    modular.run("rm", drop_in)
    modular.systemctl("daemon-reload")
    assert product(modular, "apply", "--yes", HOST).returncode == 0
    assert check(modular, HOST)["virtstoraged"]["verdict"] == "right"


def looped(machine: Container) -> str:
    """Return what the loop told."""
    return machine.journal("-u", "looped")


def test_the_loop_brings_a_daemon_back_and_goes_on(modular: Container) -> None:
    modular.write("/srv/config.yaml", CONFIG)
    modular.run("mkdir", "-p", "/srv/looped", "/var/lib/vr-daemons")
    write_host(modular, required=[*DRIVERS], action="ensure")
    modular.run("cp", HOST, "/srv/looped")
    modular.systemctl("disable", "--now", *sockets("virtqemud"), "virtqemud.service")
    command = (str(PYTHON if PYTHON.exists() else sys.executable), "-m", "reconciler")
    where = ("-p", f"WorkingDirectory={ROOT}", "-u", "looped", "--collect")
    config = ("--config", "/srv/config.yaml")
    modular.run("systemd-run", "-q", *where, *command, "run", *config)
    modular.wait(lambda: state(modular, "virtqemud.socket") == "active", "virtqemud is back")
    modular.wait(lambda: "connected to libvirt (network)" in looped(modular), "libvirt is reached")
    modular.systemctl("stop", *sockets("virtnetworkd"), "virtnetworkd.service")
    modular.wait(lambda: state(modular, "virtnetworkd.socket") == "active", "virtnetworkd is back")
    assert "daemons[virtqemud].socket: disabled, stopped" in looped(modular)
    modular.systemctl("stop", "looped")


def test_of_another_host_nothing_is_known_and_it_is_said(container: Container) -> None:
    done = product(container, "host", "check", "-c", "qemu+ssh://kvm02/system")
    assert (done.returncode, "another host" in done.stderr) == (1, True)
