"""Tests begin from the same state on every machine, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Set

import pytest

from tests.lab.container import CHECKOUT, shown, temporary_container
from tests.lab.host import temporary_host
from tests.lab.surroundings import remains, short_folder

MACHINE = """\
<domain type='qemu'><name>new</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>
"""
NETWORK = "/etc/libvirt/qemu/networks/default.xml"
FAILS = "#!/bin/sh\nexit 1\n"
# Files that change how libvirt, systemd, Git or virt-reconciler works on a machine. A text that begins
# with `#!` is a program; `->` is a link.
FOUND = {
    "etc/libvirt/libvirtd.conf": 'auth_unix_rw = "sasl"\n',
    "etc/libvirt/libvirt.conf": 'uri_default = "test:///default"\n',
    "etc/libvirt/qemu.conf": 'user = "nobody"\nsecurity_driver = "none"\n',
    "etc/libvirt/hooks/qemu": FAILS,
    "etc/libvirt/hooks/network": FAILS,
    "etc/libvirt/qemu/networks/default.xml": "<network><name>default</name></network>",
    "etc/libvirt/qemu/networks/office.xml": "<network><name>office</name></network>",
    "etc/libvirt/qemu/networks/autostart/default.xml": "->../default.xml",
    "etc/libvirt/qemu/networks/autostart/office.xml": "->../office.xml",
    "etc/libvirt/qemu/old.xml": """<domain type='qemu'><name>old</name><memory>9999</memory>
        <os><type arch='x86_64' machine='pc'>hvm</type></os></domain>""",
    "etc/libvirt/qemu/autostart/old.xml": "->../old.xml",
    "etc/libvirt/storage/default.xml": """<pool type='dir'><name>default</name>
        <target><path>/srv/images</path></target></pool>""",
    "etc/libvirt/storage/autostart/default.xml": "->../default.xml",
    "etc/qemu/firmware/00-broken.json": "{",
    "etc/systemd/system-preset/00-all.preset": "enable *\n",
    "etc/systemd/system/default.target": "->/usr/lib/systemd/system/rescue.target",
    "etc/systemd/system/odd.service": "[Service]\nExecStart=/bin/sleep 9999\n",
    "etc/systemd/system/basic.target.wants/odd.service": "->../odd.service",
    "etc/systemd/system/libvirtd.service.d/odd.conf": "[Service]\nExecStartPre=/bin/false\n",
    "etc/systemd/system/service.d/odd.conf": "[Service]\nEnvironment=LIBVIRT_DEFAULT_URI=test:///\n",
    "etc/systemd/journald.conf.d/odd.conf": "[Journal]\nStorage=none\n",
    "etc/fstab": "/dev/nowhere /nowhere ext4 defaults 0 0\n",
    "etc/tmpfiles.d/odd.conf": "d /srv/odd 0755 root root -\n",
    "etc/gitconfig": "[commit]\n\tgpgsign = true\n",
    "etc/virt-reconciler/config.yaml": "apiVersion: virt-reconciler/v0\n",
    "var/lib/virt-reconciler/objects/ghost.json": "{}",
    "var/lib/libvirt/images/old.img": "old",
    "root/.gitconfig": "[commit]\n\tgpgsign = true\n",
    "root/.config/libvirt/libvirt.conf": 'uri_default = "test:///default"\n',
    "root/.local/state/virt-reconciler/history/ghost": "{}",
    "usr/local/bin/virsh": FAILS,
    "usr/local/bin/git": FAILS,
}
# Environment variables of a user.
SET = {
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LIBVIRT_DEFAULT_URI": "test:///default",
    "LIBVIRT_DEBUG": "1",
    "GIT_DIR": "/nowhere",
    "GIT_AUTHOR_DATE": "never",
    "VISUAL": "false",
    "EDITOR": "false",
    "XDG_STATE_HOME": "/root/state",
    "XDG_CONFIG_HOME": "/root/.config",
    "NOTIFY_SOCKET": "/run/notify",
    "LC_ALL": "tlh",
    "TZ": "Asia/Kathmandu",
    "SUDO_USER": "worf",
}
# What may change on the machine during tests: temporary files, and files of its own libvirt.
PASSING = (
    *("tmp", "var/tmp", "run", "mnt", "proc", "sys", "dev"),
    *("etc/libvirt", "var/lib/libvirt", "var/cache/libvirt", "var/log/libvirt"),
)
HERE = "tests/real/test_surroundings.py"
WANTED = (
    f"{HERE}::test_a_machine_begins_as_newly_installed",
    f"{HERE}::test_a_host_begins_empty",
    f"{HERE}::test_nothing_of_the_machines_or_the_users_is_in_sight",
    "tests/real/test_service.py::test_a_commit_becomes_a_machine_and_its_revision_is_told",
    "tests/real/test_undo.py",
)


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a root like this machine's, with the files above."""
    folder = short_folder()
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for one in (upper, work, root):
        one.mkdir()
    layers = f"lowerdir=/,upperdir={upper},workdir={work}"
    mounts = [["mount", "-t", "overlay", "-o", layers, "none", str(root)]]
    mounts += [["mount", "--rbind", str(one), f"{root}{one}"] for one in shown()]
    subprocess.run(mounts[0], check=True)
    for path, text in FOUND.items():
        _put(root / path, text)
    for words in mounts[1:]:
        Path(words[-1]).mkdir(parents=True, exist_ok=True)
        subprocess.run(words, check=True)
    yield root
    subprocess.run(["umount", "-R", str(root)], check=True)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if text.startswith("->"):
        path.symlink_to(text[2:])
    else:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def _written(root: Path) -> Set[str]:
    """Return the files that differ from those on the machine's disk."""
    upper = root.with_name("upper")
    names = {str(one.relative_to(upper)) for one in upper.rglob("*") if not one.is_dir()}
    checkout = tuple(str(one).lstrip("/") for one in shown())
    return {name for name in names if not name.startswith((*PASSING, *checkout))}


def test_a_machine_that_is_set_up_in_its_own_way_makes_no_difference(root: Path) -> None:
    before = _written(root)
    # Its own libvirt runs while the tests do.
    script = 'env -u LIBVIRT_DEBUG sh -c "virtlogd -d; libvirtd -d"; exec "$@"'
    command = [str(CHECKOUT / "scripts" / "inside"), str(root), "bash", "-c", script, "bash"]
    command += ["env", "-C", str(CHECKOUT), sys.executable, "-B", "-m", "pytest", "-q"]
    done = subprocess.run(
        ["unshare", "-n", *command, "-p", "no:cacheprovider", *WANTED],
        env={**SET, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert _written(root) == before


def test_the_demo_works_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(os.listdir("/tmp"))
    words = [sys.executable, "-B", "-m", "scripts.demo"]
    environ = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        words, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    made = set(os.listdir("/tmp")) - before
    assert [one for one in made if one.startswith("vr-demo-")] == []


def test_a_machine_begins_as_newly_installed() -> None:
    with temporary_container() as machine:
        assert machine.systemctl("is-system-running") == "running"
        assert machine.systemctl("get-default") == "graphical.target"  # as systemd itself has it
        enabled = "--state=enabled", "--no-legend", "--type=service,socket,timer"
        assert machine.systemctl("list-unit-files", *enabled, check=False) == ""
        here = "/etc/virt-reconciler", "/etc/libvirt/hooks", *(f"/{one}" for one in FOUND)
        ours = "/etc/libvirt/libvirtd.conf", "/etc/libvirt/qemu.conf", NETWORK
        for path in here:
            there = machine.run("test", "-e", path, check=False).returncode == 0
            assert there == (path in ours), path
        machine.systemctl("start", "libvirtd.socket")
        for what in ("list", "pool-list"):
            assert machine.virsh(what, "--all", "--name").stdout.split() == []
        (network,) = machine.virsh("net-list", "--all").stdout.splitlines()
        assert network.split() == ["default", "inactive", "no", "yes"]


def test_machines_that_run_at_once_share_no_service() -> None:
    with temporary_container() as one, temporary_container() as other:
        one.run("systemd-run", "-q", "--unit=mine", "sleep", "infinity")
        find = ("find", "/sys/fs/cgroup", "-name", "mine.service")
        assert "mine.service" in one.run(*find).stdout
        assert other.run(*find).stdout == ""


def test_a_host_begins_empty() -> None:
    with temporary_host(kvm=False) as host:
        assert host.virsh("list", "--all", "--name").stdout.split() == []
        assert host.virsh("net-list", "--all", "--name").stdout.split() == ["default"]
        assert host.virsh("pool-list", "--all", "--name").stdout.split() == ["default"]
        assert host.virsh("vol-list", "default").stdout.strip() == ""
        machine = host.folder / "machine.xml"
        machine.write_text(MACHINE, encoding="ascii")
        host.virsh("create", str(machine))


def test_nothing_of_the_machines_or_the_users_is_in_sight() -> None:
    settings = ("LIBVIRT_", "GIT_", "XDG_", "LC_", "VISUAL", "EDITOR", "SUDO_", "NOTIFY_", "VIRSH_")
    assert [name for name in os.environ if name.startswith(settings)] == []
    # What tests of this run have written there is theirs; nothing else is.
    assert {one.name for one in Path.home().iterdir()} <= {".local", ".cache"}
    for folder in ("/etc/libvirt", "/run/libvirt", "/etc/virt-reconciler"):
        assert not os.path.isdir(folder) or os.listdir(folder) == []
    asked = ["git", "config", "--global", "--list"], ["git", "config", "--system", "--list"]
    for words in asked:
        assert subprocess.run(words, check=False, capture_output=True, text=True).stdout == ""
    assert subprocess.run(["virsh", "uri"], check=False, capture_output=True).returncode == 1


def test_what_is_left_behind_is_found() -> None:
    before = remains()
    folder = short_folder()
    sleep = subprocess.Popen(["sleep", "60"], cwd=folder)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)
    found = set(remains()) - set(before)
    subprocess.run(["umount", str(folder)], check=True)
    sleep.kill()
    sleep.wait(60)
    folder.rmdir()
    assert {one.partition(" ")[0] for one in found} == {str(folder), "mount", "process"}
    assert remains() == before
