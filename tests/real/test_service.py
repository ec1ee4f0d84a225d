"""The daemon as a service on a machine of its own: real systemd, libvirt, QEMU and Git."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.lab.container import Container, temporary_container

CHECKOUT = Path(__file__).parents[2]
MANIFESTS = "/srv/manifests"
SERVICE = "virt-reconciler.service"
# The test's own unit has the packaged one's type and timing, and this checkout's command; what
# the package installs is tested with the package.
UNIT = f"""\
[Unit]
After=libvirtd.socket
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart={sys.executable} -m reconciler run
WorkingDirectory={CHECKOUT}
ExecReload={sys.executable} -m reconciler config check
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
WatchdogSec=60
TimeoutStopSec=90
StateDirectory=virt-reconciler
[Install]
WantedBy=multi-user.target
"""
CONFIG = f"""\
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  source: {{directory: {MANIFESTS}}}
  rescan: 2s
"""
MANIFEST = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  os: rocky9
  power: {power}
  autostart: {autostart}
  cpus: 1
  memory: {memory}
  disks: {disks}
  interfaces: [{{name: lan, network: default}}]
  graphics: none
"""
# A test restarts libvirt more often than systemd would go along with: with a connection waiting,
# each start counts as a trigger of the socket, and after 20 in 2 s the socket fails for good.
OFTEN = "[Unit]\nStartLimitIntervalSec=0\n[Socket]\nTriggerLimitIntervalSec=0\n"
KILLS = 50


def render(name: str, **fields: str) -> str:
    plain = {"power": "running", "autostart": "false", "memory": "64MiB", "disks": "[]"}
    return MANIFEST.format(name=name, **{**plain, **fields})


class Site:
    """The machine, with its repository of manifests and the daemon."""

    def __init__(self, machine: Container) -> None:
        self.machine = machine

    def commit(self, message: str, **files: str) -> str:
        """Write the files (empty: remove), commit, and return the commit."""
        for name, text in files.items():
            path = f"{MANIFESTS}/{name}.yaml"
            if text:
                self.machine.write(path, text)
            else:
                self.machine.run("rm", path)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        return self.machine.run("git", "-C", MANIFESTS, *words).stdout

    def status(self) -> Dict[str, Any]:
        """Return the daemon's records by name."""
        folder = "/var/lib/virt-reconciler/objects"
        text = self.machine.run("sh", "-c", f"cat {folder}/*/*.json", check=False).stdout
        decoder, found = json.JSONDecoder(), {}
        while text.strip():
            data, end = decoder.raw_decode(text.lstrip())
            found[data["name"]] = data
            text = text.lstrip()[end:]
        return found

    def is_ready(self, name: str) -> bool:
        conditions = self.status().get(name, {}).get("conditions", ())
        return any(condition["type"] == "Ready" and condition["holds"] for condition in conditions)

    def state(self, name: str) -> str:
        return self.machine.virsh("domstate", name, check=False).stdout.strip()

    def wait_running(self, *names: str) -> None:
        self.machine.wait(
            lambda: all(self.state(name) == "running" for name in names), f"{', '.join(names)} run"
        )

    def told(self) -> str:
        return self.machine.journal("-u", SERVICE, "-n", "25")

    def reset(self) -> None:
        """Stop the daemon, and have nothing left of what it has made."""
        self.machine.systemctl("stop", SERVICE)
        self.machine.run("rm", "-rf", "/var/lib/virt-reconciler", MANIFESTS)
        for name in self.machine.virsh("list", "--all", "--name").stdout.split():
            self.machine.virsh("destroy", name, check=False)
            self.machine.virsh("undefine", name)
        self.machine.run("sh", "-c", "rm -rf /var/lib/libvirt/images/*")
        self.machine.virsh("pool-refresh", "default")
        self.machine.virsh("net-start", "default", check=False)
        self.machine.run("mkdir", "-p", MANIFESTS)
        self.git("init", "-q")
        self.machine.systemctl("start", SERVICE)


def faults(machine: Container) -> List[str]:
    """Return what the daemon has told of bugs of its own, in this boot."""
    return [line for line in machine.journal("-u", SERVICE).splitlines() if "is a bug" in line]


@pytest.fixture(scope="module")
def machine() -> Iterator[Container]:
    with temporary_container() as machine:
        machine.write(f"/etc/systemd/system/{SERVICE}", UNIT)
        machine.write("/etc/virt-reconciler/config.yaml", CONFIG)
        machine.write("/root/.gitconfig", "[user]\n\tname = t\n\temail = t@example.org\n")
        for unit in ("libvirtd.service", "libvirtd.socket"):
            machine.write(f"/etc/systemd/system/{unit}.d/often.conf", OFTEN)
        machine.systemctl("daemon-reload")
        machine.systemctl("enable", "--now", "libvirtd.socket", "virtlogd.socket")
        machine.run("mkdir", "-p", MANIFESTS, "/var/lib/libvirt/images")
        machine.virsh("pool-define-as", "default", "dir", "--target", "/var/lib/libvirt/images")
        machine.virsh("pool-start", "default")
        machine.virsh("pool-autostart", "default")
        machine.virsh("net-autostart", "default")
        machine.virsh("net-start", "default")
        machine.systemctl("enable", SERVICE)
        yield machine
        assert not faults(machine)


@pytest.fixture
def site(machine: Container) -> Site:
    site = Site(machine)
    site.reset()
    return site


def test_a_commit_becomes_a_machine_and_its_revision_is_told(site: Site) -> None:
    revision = site.commit("one machine", web=render("web"))
    site.wait_running("web")
    site.machine.wait(lambda: site.is_ready("web"), "it is ready")
    assert site.status()["web"]["revision"] == revision
    assert revision in site.machine.virsh("dumpxml", "web").stdout
    fields = ("VIRT_RECONCILER_OBJECT=web", f"VIRT_RECONCILER_REVISION={revision}")
    assert "created" in site.machine.journal(*fields)
    site.machine.wait(
        lambda: "1 virtual machine, 1 ready" in site.machine.systemctl("status", SERVICE),
        "systemd shows it",
    )


def test_files_that_are_not_committed_change_nothing(site: Site) -> None:
    site.commit("one machine", web=render("web"))
    site.wait_running("web")
    site.machine.write(f"{MANIFESTS}/web.yaml", render("web", power="stopped"))
    site.machine.write(f"{MANIFESTS}/other.yaml", render("other"))
    before = site.machine.journal("-u", SERVICE)
    site.commit("by another file", third=render("third"))
    site.machine.wait(lambda: site.state("third") == "running", "the commit is taken")
    assert "other" not in before


def test_what_is_done_by_hand_is_undone_or_reported(site: Site) -> None:
    disks = "[{name: data, bus: scsi, size: 8MiB, format: raw}]"
    app = render("app", disks=disks)
    site.commit("machines", web=render("web"), app=app, db=render("db", power="stopped"))
    site.wait_running("web", "app")
    site.machine.wait(lambda: site.is_ready("db"), "it is ready")
    machine = site.machine

    machine.virsh("destroy", "web")
    site.wait_running("web")

    edit = "sed -i 's/<vcpu[^>]*>1</<vcpu>2</'"
    machine.run("env", f"EDITOR={edit}", "virsh", "-c", "qemu:///system", "edit", "db")
    machine.wait(lambda: "db: cpus.count: 2 -> 1" in site.told(), "it is told")
    assert machine.virsh("vcpucount", "db", "--active", "--config").stdout.strip() == "1"

    machine.virsh("detach-disk", "app", "sda", "--live", "--config")
    machine.wait(lambda: "sda" in machine.virsh("domblklist", "app").stdout, "the disk is back")

    machine.virsh("undefine", "web")  # goes on running, but is not stored any more
    stored = ("list", "--all", "--name", "--persistent")
    machine.wait(lambda: "web" in machine.virsh(*stored).stdout.split(), "it is stored again")
    machine.virsh("destroy", "web")
    site.wait_running("web")

    machine.virsh("net-destroy", "default")
    machine.wait(lambda: "network default is not active" in site.told(), "it is reported")
    machine.virsh("net-start", "default")
    machine.wait(lambda: site.is_ready("web"), "it is ready again")


def test_libvirt_is_restarted_and_killed_while_it_works(site: Site) -> None:
    site.commit("one machine", web=render("web"))
    site.wait_running("web")
    for number in range(KILLS):
        if number % 2:
            site.machine.run("pkill", "-KILL", "-x", "libvirtd", check=False)
        else:
            site.machine.systemctl("restart", "libvirtd.service", check=False)
        if number % 10 == 0:
            site.commit(f"machine {number}", **{f"vm{number}": render(f"vm{number}")})
    made = [f"vm{number}" for number in range(0, KILLS, 10)]
    site.wait_running("web", *made)
    site.machine.virsh("destroy", "web")
    site.wait_running("web")
    assert site.machine.systemctl("show", "-P", "NRestarts", SERVICE) == "0", site.told()


def test_it_is_killed_at_any_moment_and_goes_on(site: Site) -> None:
    disks = "[{name: root, bus: virtio, size: 16MiB, format: raw}]"
    names = [f"vm{number}" for number in range(6)]
    site.commit("six machines", **{name: render(name, disks=disks) for name in names})
    for moment in (0.2, 0.5, 0.8, 1.1, 1.5):
        pid = main_pid(site)
        # The moment is the point of it, and not a time to wait for something.
        site.machine.run("sh", "-c", f"sleep {moment}; kill -KILL {pid}")
        wait_for_another(site, pid)
    site.wait_running(*names)
    volumes = site.machine.virsh("vol-list", "default").stdout.split()[::2]
    assert len(volumes) == len(names), volumes


def main_pid(site: Site) -> str:
    """Return the daemon's process once it runs: a signal to process 0 is one to these tests."""
    found: List[str] = []

    def is_there() -> bool:
        found.append(site.machine.systemctl("show", "-P", "MainPID", SERVICE))
        return found[-1] != "0"

    site.machine.wait(is_there, "the daemon runs")
    return found[-1]


def wait_for_another(site: Site, pid: str) -> None:
    """Wait until systemd has a main process in the place of that one, which is ready."""
    site.machine.wait(lambda: main_pid(site) != pid, "systemd starts another")
    site.machine.wait(lambda: is_active(site), "it is up")


def is_active(site: Site) -> bool:
    return site.machine.systemctl("is-active", SERVICE, check=False) == "active"


def test_a_loop_that_is_stuck_is_killed_and_started_again(site: Site) -> None:
    site.machine.write(
        f"/run/systemd/system/{SERVICE}.d/watchdog.conf", "[Service]\nWatchdogSec=4\n"
    )
    site.machine.systemctl("daemon-reload")
    site.machine.systemctl("restart", SERVICE)
    site.commit("one machine", web=render("web"))
    site.wait_running("web")
    pid = main_pid(site)
    site.machine.run("kill", "-STOP", pid)
    wait_for_another(site, pid)
    site.machine.virsh("destroy", "web")
    site.wait_running("web")
    site.machine.run("rm", f"/run/systemd/system/{SERVICE}.d/watchdog.conf")
    site.machine.systemctl("daemon-reload")


def test_libvirt_that_is_not_there_is_a_status_and_no_failed_start(site: Site) -> None:
    sockets = ["libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"]
    # One after the other: what still asks libvirt would have its socket start it again meanwhile.
    for units in ([SERVICE], sockets, ["libvirtd.service"]):
        site.machine.systemctl("stop", *units)
    site.commit("one machine", web=render("web"))
    site.machine.systemctl("start", SERVICE)
    assert is_active(site)
    site.machine.wait(lambda: "cannot reach libvirt" in site.told(), "it is reported")
    site.machine.systemctl("start", "libvirtd.socket")
    site.wait_running("web")


def test_a_reload_with_a_wrong_configuration_fails_and_changes_nothing(site: Site) -> None:
    machine, file = site.machine, "/etc/virt-reconciler/config.yaml"
    site.commit("one machine", web=render("web"))
    site.wait_running("web")
    machine.write(file, CONFIG.replace("2s", "often"))
    refused = machine.run("systemctl", "reload", SERVICE, check=False)
    assert refused.returncode != 0
    assert f"{file}:5:11: spec.rescan" in site.told()
    assert is_active(site)
    assert reconciler(machine, "suspend", "web").returncode == 0, "the brake works"
    assert reconciler(machine, "resume", "web").returncode == 0

    machine.run("kill", "-HUP", main_pid(site))  # by hand, past the check
    machine.wait(lambda: "configuration not reloaded" in site.told(), "it is told")
    assert "not reloaded" in reconciler(machine, "status").stdout
    machine.virsh("destroy", "web")
    site.wait_running("web")

    machine.write(file, CONFIG + "  lanes: 2\n")
    machine.systemctl("reload", SERVICE)
    machine.wait(lambda: "configuration reloaded; restart needed for: lanes" in site.told(), "told")
    assert "restart needed for: lanes" in reconciler(machine, "status").stdout
    machine.write(file, CONFIG)
    machine.systemctl("restart", SERVICE)
    assert "needed for" not in reconciler(machine, "status").stdout


def test_a_guest_whose_bridge_comes_late_starts_by_itself(site: Site) -> None:
    late = render("late").replace("network: default", "bridge: br7")
    site.commit("a machine on a bridge", late=late)
    site.machine.wait(lambda: "br7" in site.told(), "it is reported")
    site.machine.run("ip", "link", "add", "br7", "type", "bridge")
    site.wait_running("late")
    site.machine.virsh("destroy", "late")
    site.commit("none", late="")
    site.machine.run("ip", "link", "del", "br7")


def test_an_apply_that_the_daemon_would_undo_is_refused_until_it_is_suspended(site: Site) -> None:
    machine = site.machine
    revision = site.commit("one machine", web=render("web"))
    site.machine.wait(lambda: site.is_ready("web"), "it is ready")
    machine.write("/root/web.yaml", render("web", autostart="true"))
    refused = reconciler(machine, "apply", "-y", "/root/web.yaml")
    assert refused.returncode == 4
    said = " ".join(refused.stdout.split())
    assert f"follows commit {revision[:12]} and would undo this" in said
    assert "Autostart:      disable" in machine.virsh("dominfo", "web").stdout

    assert reconciler(machine, "suspend", "web").returncode == 0
    assert reconciler(machine, "apply", "-y", "/root/web.yaml").returncode == 0
    machine.systemctl("reload", SERVICE)  # has everything looked at
    assert "Autostart:      enable" in machine.virsh("dominfo", "web").stdout
    assert reconciler(machine, "resume", "web").returncode == 0
    # Its definition, and the mark that the daemon writes last of all.
    planned = ("plan", "--detailed-exitcode", f"{MANIFESTS}/web.yaml")
    machine.wait(lambda: reconciler(machine, *planned).returncode == 0, "it is as committed")
    assert "Autostart:      disable" in machine.virsh("dominfo", "web").stdout
    assert reconciler(machine, "apply", "-y", f"{MANIFESTS}/web.yaml").returncode == 0


def reconciler(machine: Container, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in the machine."""
    return machine.run(
        "env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "reconciler", *words, check=False
    )


def test_a_lost_folder_is_no_order_to_do_anything(site: Site) -> None:
    site.commit("one machine", web=render("web"))
    site.wait_running("web")
    site.machine.run("mv", MANIFESTS, f"{MANIFESTS}.away")
    site.machine.wait(lambda: MANIFESTS in site.told() and "cannot be read" in site.told(), "told")
    site.machine.virsh("destroy", "web")
    site.wait_running("web")
    site.machine.run("mv", f"{MANIFESTS}.away", MANIFESTS)


def test_the_machine_restarts_and_everything_is_there_again(site: Site) -> None:
    site.commit(
        "two machines", auto=render("auto", autostart="true"), web=render("web", autostart="false")
    )
    site.wait_running("auto", "web")
    site.machine.wait(lambda: site.is_ready("auto") and site.is_ready("web"), "both are ready")
    site.machine.reboot()
    site.wait_running("auto", "web")
    assert is_active(site)
    started = "web: power: stopped -> running; the host was restarted"
    site.machine.wait(lambda: started in site.told(), "it is told why it was off")
    assert "someone" not in site.told()
    assert not faults(site.machine)
