"""The package on a machine of its own: its scriptlets, its user, what that may do, and its end."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from reconciler import __version__
from tests.lab.container import Container, temporary_container
from tests.lab.modular import make_monolithic, sockets, write_units
from tests.lab.packages import UNIT, install_rpm

USER = "virt-reconciler"
CONFIG = "/etc/virt-reconciler/config.yaml"
MANIFEST = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: web01}
spec: {power: stopped, cpus: 1, memory: 64MiB, disks: [], interfaces: [], graphics: none}
"""


URI = "qemu:///system"
HOST = """\
apiVersion: virt-reconciler/v1
kind: Host
metadata: {name: kvm01}
spec:
  daemons:
    mode: modular
    required: [virtqemud]
    forbidden: [libvirtd]
    action: ensure
"""
CONFIGURATION = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {{source: {{git: {{url: "{url}", {more}interval: 5s}}}}}}
"""
# A template that is fetched by its address, and a machine that is cloned from it.
FETCHED = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: base}}
spec:
  image: {{url: "http://127.0.0.1:8000/base.qcow2", sha256: {sha256}}}
{prepare}---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  power: stopped
  cpus: 1
  memory: 64MiB
  disks: [{{name: root, source: {{template: base, clone: full}}}}]
  interfaces: []
  graphics: none
"""
PREPARE = "  prepare: {hostname: fromName, operations: [machine-id]}\n"
# What libguestfs takes for a Linux, served by address.
SITE = """
set -e
mkdir -p /srv/www /srv/root
cd /srv/root
mkdir -p bin etc proc root sbin sys tmp usr/bin usr/lib var/lib/dpkg var/log dev
printf 'ID=debian\\nVERSION_ID="12"\\nNAME="Debian"\\n' >etc/os-release
echo 12.5 >etc/debian_version
echo '/dev/sda / ext4 defaults 0 1' >etc/fstab
echo template >etc/hostname
echo 0123456789abcdef0123456789abcdef >etc/machine-id
echo root:x:0:0:root:/root:/bin/sh >etc/passwd
echo 'root:!:19000:0:99999:7:::' >etc/shadow
touch var/lib/dpkg/status
cp /bin/busybox bin/sh
mkfs.ext4 -q -d . /srv/raw 24M
qemu-img convert -O qcow2 /srv/raw /srv/www/base.qcow2
systemd-run -q --unit=site --working-directory=/srv/www python3 -m http.server 8000
mkdir -p /var/lib/libvirt/images
virsh -q -c qemu:///system pool-define-as default dir --target /var/lib/libvirt/images
virsh -q -c qemu:///system pool-start default
sha256sum /srv/www/base.qcow2
"""
FOLLOWED = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {source: {directory: /etc/virt-reconciler/manifests}}
"""
# A repository of the daemon's user, with one commit that is signed.
REPOSITORY = """
set -e
git init -q -b main /srv/repository
cd /srv/repository
git config user.email a@example.org
git config user.name A
ssh-keygen -q -t ed25519 -N "" -f /root/key
printf 'a@example.org %s' "$(cat /root/key.pub)" >/etc/virt-reconciler/allowed_signers
git config gpg.format ssh
git config user.signingkey /root/key
cat >git01.yaml
git add .
git commit -q -S -m one
chown -R virt-reconciler: .
"""


@contextmanager
def boot() -> Iterator[Container]:
    """Run a machine with the package, and libvirt behind its socket."""
    with temporary_container() as machine:
        # Who may connect is polkit's to say, as on a real host; the machine of other tests lets all.
        machine.write("/etc/libvirt/libvirtd.conf", "")
        machine.systemctl("start", "libvirtd.socket")
        install_rpm(machine)
        yield machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Container]:
    """Return a machine with the package."""
    with boot() as container:
        yield container


def show(machine: Container, what: str) -> str:
    """Return a property of the service."""
    return machine.systemctl("show", "-P", what, UNIT)


def shell(machine: Container, user: str, command: str) -> bool:
    """Run a command as a user of the machine; return whether it succeeded."""
    words = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "sh", "-c", command)
    return machine.run(*words, check=False).returncode == 0


def stat(machine: Container, path: str) -> str:
    """Return owner, group and mode."""
    return machine.run("stat", "-c", "%U:%G %a", path).stdout.strip()


def make_machine(machine: Container) -> None:
    """Have a domain made by the daemon, with its own user and rights."""
    machine.write("/etc/virt-reconciler/manifests/web01.yaml", MANIFEST, mode=0o640)
    machine.wait(lambda: "web01" in machine.virsh("list", "--all").stdout, "the domain is there")
    # What the pass found is written down at its end.
    written = ("test", "-e", "/var/lib/virt-reconciler/objects/VirtualMachine/web01.json")
    machine.wait(lambda: machine.run(*written, check=False).returncode == 0, "it is written down")


@pytest.fixture(autouse=True)
def at_rest(machine: Container) -> Iterator[None]:
    """Stop the daemon after each test: a failed one is not to be the next one's."""
    yield
    machine.systemctl("stop", UNIT)


def test_the_user_and_its_folders_are_there_and_nothing_runs(machine: Container) -> None:
    name, _, number, _, _, home, login = (
        machine.run("getent", "passwd", USER).stdout.strip().split(":")
    )
    assert (name, home, login) == (USER, "/var/lib/virt-reconciler", "/usr/sbin/nologin")
    assert 0 < int(number) < 1000
    assert machine.run("id", "-Gn", USER).stdout.split() == [USER]  # of no group but its own
    assert stat(machine, "/var/lib/virt-reconciler") == f"{USER}:{USER} 750"
    assert stat(machine, "/etc/virt-reconciler/manifests") == f"root:{USER} 2750"
    assert machine.systemctl("is-enabled", UNIT, check=False) == "disabled"
    assert show(machine, "ActiveState") == "inactive"
    assert show(machine, "NeedDaemonReload") == "no"


def test_folders_come_back_where_they_were_emptied(machine: Container) -> None:
    machine.run("rmdir", "/var/lib/virt-reconciler")
    machine.run("systemd-tmpfiles", "--create", "virt-reconciler.conf")
    assert stat(machine, "/var/lib/virt-reconciler") == f"{USER}:{USER} 750"


def test_the_command_runs_on_the_distributions_python_and_writes_nothing(
    machine: Container,
) -> None:
    command = "/usr/bin/virt-reconciler"
    assert machine.run(command, "--version").stdout == f"virt-reconciler {__version__}\n"
    assert '"title": "Host"' in machine.run(command, "schema", "Host").stdout
    examples = "/usr/share/doc/virt-reconciler/manifests/examples"
    assert machine.run(command, "validate", examples).stdout.startswith("Valid: ")
    machine.write("/tmp/bad.yaml", MANIFEST.replace("cpus: 1", "cpus: none"))
    done = machine.run(command, "validate", "/tmp/bad.yaml", check=False)
    assert (done.returncode, "/tmp/bad.yaml:4:" in done.stderr) == (65, True)
    assert machine.run("find", "/usr/share/virt-reconciler", "-name", "*311.pyc").stdout == ""
    done = machine.run("rpm", "-V", "--nodeps", "virt-reconciler", check=False)
    # Another test may have written the configuration.
    assert [line for line in done.stdout.splitlines() if not line.endswith(CONFIG)] == []


def test_messages_are_explained(machine: Container) -> None:
    known = machine.run("journalctl", "--list-catalog").stdout
    assert "virt-reconciler: The daemon started" in known


def test_the_daemon_does_its_work_as_its_own_user(machine: Container) -> None:
    machine.systemctl("start", UNIT)
    pid = show(machine, "MainPID")
    process = machine.run("ps", "-o", "user:20=,args=", "-p", pid).stdout.split()
    assert process == [USER, "/usr/bin/python3", "-s", "/usr/bin/virt-reconciler", "run"]
    make_machine(machine)
    assert stat(machine, "/var/lib/virt-reconciler/objects") == f"{USER}:{USER} 750"
    machine.wait(lambda: "inotify" in status(machine), "it watches its folder")
    machine.systemctl("reload", UNIT)
    assert show(machine, "MainPID") == pid
    machine.systemctl("stop", UNIT)
    assert show(machine, "Result") == "success"
    assert "web01" in machine.virsh("list", "--all").stdout


def test_git_ssh_and_credentials_work_where_the_daemon_is_confined(machine: Container) -> None:
    machine.write("/etc/virt-reconciler/deploy_key", "secret\n", mode=0o600)
    example = machine.read("/usr/share/doc/virt-reconciler/deploy-key.conf")
    machine.write(f"/run/systemd/system/{UNIT}.d/deploy-key.conf", example)
    machine.systemctl("daemon-reload")
    machine.write(CONFIG, CONFIGURATION.format(url="ssh://git@127.0.0.1/vms.git", more=""))
    machine.systemctl("start", UNIT)
    # Nobody listens there; that ssh is refused shows that it may connect.
    machine.wait(lambda: "Connection refused" in status(machine), "ssh has been tried")
    key = f"cat /run/credentials/{UNIT}/deploy_key"
    assert shell(machine, USER, key)
    assert not shell(machine, "nobody", key)

    machine.run("sh", "-c", REPOSITORY, text=MANIFEST.replace("web01", "git01"))
    signed = "verify: signed, allowedSigners: /etc/virt-reconciler/allowed_signers, "
    machine.write(CONFIG, CONFIGURATION.format(url="file:///srv/repository", more=signed))
    machine.systemctl("reload", UNIT)
    machine.wait(lambda: "git01" in machine.virsh("list", "--all").stdout, "the domain is there")
    commit = machine.run("git", "--git-dir=/srv/repository/.git", "log", "-1", "--format=%H").stdout
    assert commit.strip() in status(machine)

    machine.run("useradd", "--groups", USER, "alice")
    assert shell(machine, "alice", "virt-reconciler status git01")
    machine.systemctl("stop", UNIT)


def allow(machine: Container, example: str, more: str = "") -> None:
    """Give the daemon the rights of an example of the package's, and restart it."""
    text = machine.read(f"/usr/share/doc/virt-reconciler/{example}") + more
    machine.write(f"/run/systemd/system/{UNIT}.d/{example}", text)
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", UNIT)


def give_kernel(machine: Container) -> None:
    """Copy what libguestfs makes its appliance of: a kernel, and the list of packages."""
    boot = [str(path)[1:] for path in Path("/boot").glob("vmlinuz-*")]
    packed = subprocess.run(
        ["tar", "-C", "/", "-c", *boot, "var/lib/dpkg"], check=True, capture_output=True
    )
    unpack = machine.inside("tar", "-C", "/", "-x")
    subprocess.run(unpack, input=packed.stdout, check=True, capture_output=True)


def test_images_are_fetched_and_clones_prepared_with_the_rights_of_the_examples(
    machine: Container,
) -> None:
    manifest = "/etc/virt-reconciler/manifests/fetched.yaml"
    sha256 = machine.run("sh", "-c", SITE).stdout.split()[-2]
    machine.write(CONFIG, FOLLOWED)  # another test may have written another one
    machine.write(manifest, FETCHED.format(sha256=sha256, prepare="", name="app01"))
    machine.systemctl("start", UNIT)
    machine.wait(lambda: "images.conf" in status(machine), "it is said what the daemon needs")
    allow(machine, "images.conf")
    machine.wait(lambda: "app01" in machine.virsh("list", "--all").stdout, "it is cloned")

    give_kernel(machine)
    machine.write(manifest, FETCHED.format(sha256=sha256, prepare=PREPARE, name="app02"))
    machine.wait(lambda: "prepare.conf" in status(machine), "it is said what the daemon needs")
    # KVM may be there and not work.
    allow(machine, "prepare.conf", "Environment=LIBGUESTFS_BACKEND_SETTINGS=force_tcg\n")
    machine.wait(lambda: "app02: created" in machine.journal("-u", UNIT), "it is prepared", 600)
    clone = "/var/lib/libvirt/images/app02-root.qcow2"
    machine.run("qemu-img", "convert", "-O", "raw", clone, "/srv/clone")
    assert machine.run("debugfs", "-R", "cat /etc/hostname", "/srv/clone").stdout == "app02\n"
    machine.run("rm", "-r", f"/run/systemd/system/{UNIT}.d", manifest)
    machine.systemctl("daemon-reload")


def status(machine: Container) -> str:
    """Return what a person is shown."""
    return machine.run("virt-reconciler", "status", check=False).stdout


def test_its_user_may_write_to_libvirt_and_others_may_not(machine: Container) -> None:
    assert shell(machine, USER, "virsh -c qemu:///system list")
    assert not shell(machine, "nobody", "virsh -c qemu:///system list")


def test_its_user_may_start_and_stop_libvirts_units_and_no_others(machine: Container) -> None:
    machine.systemctl("stop", "virtlogd.socket", "virtlogd.service")
    assert shell(machine, USER, "systemctl start virtlogd.socket")
    assert machine.systemctl("is-active", "virtlogd.socket") == "active"
    assert not shell(machine, USER, "systemctl stop virtlogd.socket")
    assert shell(machine, USER, "systemctl stop libvirtd-admin.socket")
    assert not shell(machine, USER, "systemctl stop systemd-journald.socket")
    assert not shell(machine, USER, f"systemctl start {UNIT}")
    assert not shell(machine, "nobody", "systemctl start virtlogd.socket")
    assert not shell(machine, USER, "systemd-run true")


def test_its_user_enables_libvirts_units_by_a_service_for_each(machine: Container) -> None:
    socket = "virtlogd.socket"
    machine.systemctl("disable", socket)
    assert not shell(machine, USER, f"systemctl enable {socket}")
    assert shell(machine, USER, f"systemctl start virt-reconciler-enable@{socket}.service")
    assert machine.systemctl("is-enabled", socket) == "enabled"

    other = "libvirtd-tcp.socket"
    for verb, state in (("enable", "enabled"), ("disable", "disabled"), ("mask", "masked")):
        assert shell(machine, USER, f"systemctl start virt-reconciler-{verb}@{other}.service")
        assert machine.systemctl("is-enabled", other, check=False) == state
    assert not shell(machine, USER, f"systemctl start virt-reconciler-mask@{socket}.service")
    for unit in ("dbus.service", "systemd-journald.service"):
        assert not shell(machine, USER, f"systemctl start virt-reconciler-mask@{unit}.service")
    assert not shell(machine, "nobody", f"systemctl start virt-reconciler-enable@{socket}.service")


def test_its_user_puts_libvirts_daemons_right(machine: Container) -> None:
    write_units(machine)
    make_monolithic(machine)
    machine.write("/etc/virt-reconciler/host.yaml", HOST)
    apply = f"virt-reconciler -c {URI} apply --yes /etc/virt-reconciler/host.yaml"
    assert shell(machine, USER, apply)
    for one in sockets("virtqemud"):
        assert machine.systemctl("is-enabled", one) == "enabled"
        assert machine.systemctl("is-active", one) == "active"
    assert machine.systemctl("is-active", "libvirtd.socket", check=False) == "inactive"
    assert machine.systemctl("is-enabled", "libvirtd.socket", check=False) == "masked"
    make_monolithic(machine)


def test_an_upgrade_restarts_and_a_removal_stops_and_leaves_what_is_not_the_packages() -> None:
    with boot() as machine:
        machine.systemctl("enable", "--now", UNIT)
        make_machine(machine)
        machine.run("sh", "-c", f"echo '# ours' >>{CONFIG}")
        check_upgrade(machine)
        check_removal(machine)


def check_upgrade(machine: Container) -> None:
    """Check that the new package's daemon runs, with the person's configuration."""
    pid = show(machine, "MainPID")
    install_rpm(machine, release=2)
    assert machine.run("rpm", "-q", "--qf", "%{RELEASE}", "virt-reconciler").stdout == "2.el9"
    assert show(machine, "ActiveState") == "active"
    assert show(machine, "MainPID") not in ("0", pid)
    assert show(machine, "NRestarts") == "0"
    assert machine.systemctl("is-enabled", UNIT) == "enabled"
    assert machine.read(CONFIG).endswith("# ours\n")
    done = machine.run("rpm", "-V", "--nodeps", "virt-reconciler", check=False)
    assert done.stdout.split() == ["S.5....T.", "c", CONFIG]


def check_removal(machine: Container) -> None:
    """Check that nothing of the package is left, and all of the person's is."""
    pid = show(machine, "MainPID")
    before = machine.run("sh", "-c", "cd /var/lib/virt-reconciler && find . | sort").stdout
    machine.run("rpm", "-e", "virt-reconciler")
    assert machine.run("kill", "-0", pid, check=False).returncode != 0
    assert show(machine, "LoadState") == "not-found"
    links = (
        "find /etc/systemd /usr/share/virt-reconciler /usr/bin/virt-reconciler -name 'virt-rec*'"
    )
    assert machine.run("sh", "-c", f"{links} 2>/dev/null", check=False).stdout == ""

    assert "web01" in machine.virsh("list", "--all").stdout
    assert machine.read("/etc/virt-reconciler/manifests/web01.yaml") == MANIFEST
    assert machine.read(f"{CONFIG}.rpmsave").endswith("# ours\n")
    after = machine.run("sh", "-c", "cd /var/lib/virt-reconciler && find . | sort").stdout
    assert "objects/VirtualMachine/web01.json" in after
    assert after == before
    assert stat(machine, "/var/lib/virt-reconciler") == f"{USER}:{USER} 750"
