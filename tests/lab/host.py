"""A private libvirt host beside the machine's own.

libvirtd and virtlogd run in mount, network and process namespaces of their own, with their folders
bound over the machine's: they see nothing of its libvirt, and leave nothing behind, because all
their processes end with the first one. Needs root. By hand: `python -m tests.lab.host start DIR`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Iterator, List, Optional, Tuple, Type

import libvirt

from tests.lab.guest_image import kvm_boots
from tests.lab.namespaces import Namespaces
from tests.lab.surroundings import short_folder

CALL_LIMIT = 300  # seconds that one virsh may take
START_LIMIT = 180.0  # seconds; on a busy machine
# What libvirt writes to, and where; each is bound to a folder of the host's own.
FOLDERS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "run": "/run/libvirt",
}
DEFAULT_NETWORK = "/usr/share/libvirt/networks/default.xml"  # as libvirt ships it
# The test's root may not be QEMU's user, and no security driver of the machine is to be asked.
QEMU_CONF = 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nnamespaces = []\n'
LIBVIRTD_CONF = 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n'
# bash stays as the first process of the namespace and reaps: a QEMU that nobody reaps makes
# libvirt wait 40 s for it at each probe. Without D-Bus libvirtd tells the machine's systemd-machined
# and firewalld nothing of these guests and bridges; without cgroups it leaves none behind there.
SCRIPT = """
set -e
ip link set lo up
if [ -d /etc/qemu ]; then mount -t tmpfs none /etc/qemu; fi
if [ -d /run/dbus ]; then mount -t tmpfs none /run/dbus; fi
if mountpoint -q /sys/fs/cgroup; then umount -l /sys/fs/cgroup; fi
{binds}
if [ -e /dev/kvm ]; then mount --bind {kvm} /dev/kvm; mount -o remount,bind,{access} /dev/kvm; fi
virtlogd -d -p {folder}/virtlogd.pid
# Should it be killed, it starts again, as systemd has it on a real host.
while :; do libvirtd -p {folder}/libvirtd.pid || sleep 0.2; done
"""


@dataclass
class LabHost:
    """One private host below `folder`. Start it, stop it, kill its daemon, start that again."""

    folder: Path
    kvm: Optional[bool] = None
    _namespaces: Optional[Namespaces] = field(default=None, repr=False)
    _mounts: List[Path] = field(default_factory=list, repr=False)

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.folder / "run" / "libvirt-sock"

    @property
    def images(self) -> Path:
        """The folder of the pool `default`."""
        return self.folder / "images"

    def uri(self, driver: str = "qemu") -> str:
        """Return the URI of one of the host's drivers."""
        return f"{driver}+unix:///system?socket={self.socket}"

    def start(self) -> LabHost:
        """Start the daemons, the pool `default` and the network `default`."""
        for name in (*FOLDERS, "images"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._configure()
        self.start_daemon()
        self.virsh("pool-define-as", "default", "dir", "--target", str(self.images))
        self.virsh("pool-start", "default")
        self.virsh("net-define", DEFAULT_NETWORK)
        self.virsh("net-start", "default")
        return self

    def _configure(self) -> None:
        """Write the daemon's settings. Nothing of the machine's: its guests would start here too."""
        for name, text in (("qemu.conf", QEMU_CONF), ("libvirtd.conf", LIBVIRTD_CONF)):
            (self.folder / "etc" / name).write_text(text, encoding="utf-8")

    def start_daemon(self) -> None:
        """Start libvirtd in its namespaces, and wait until it answers."""
        binds = "\n".join(
            f"mkdir -p {target}; mount --bind {self.folder / name} {target}"
            for name, target in FOLDERS.items()
        )
        node, access = self._kvm_node()
        script = SCRIPT.format(binds=binds, kvm=node, access=access, folder=self.folder)
        self._namespaces = Namespaces.start(script, self.folder / "daemon.log", network=True)
        self.wait_until_it_answers()

    def _kvm_node(self) -> Tuple[Path, str]:
        """Return what stands for /dev/kvm: one that QEMU may open, or a file nobody may write.

        libvirt probes QEMU anew at every call while it can access the node and QEMU cannot use
        it; and root has access to everything, save to what is mounted read-only.
        """
        node = self.folder / "kvm"
        node.unlink(missing_ok=True)
        if kvm_boots() if self.kvm is None else self.kvm:
            os.mknod(node, 0o666 | 0o020000, os.stat("/dev/kvm").st_rdev)
            node.chmod(0o666)
            return node, "rw"
        node.touch()
        return node, "ro"

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while self.virsh("uri", check=False).returncode != 0:
            if time.monotonic() > deadline or (self._namespaces and not self._namespaces.alive()):
                text = (self.folder / "daemon.log").read_text(encoding="utf-8", errors="replace")
                self.stop()
                raise RuntimeError(f"the private libvirtd does not answer:\n{text[-2000:]}")
            time.sleep(0.05)

    def virsh(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run virsh on the host."""
        command = ["virsh", "-q", "-c", self.uri(), *words]
        return subprocess.run(
            command, check=check, capture_output=True, text=True, timeout=CALL_LIMIT
        )

    def save(self, name: str) -> None:
        """Save the guest and stop it, as `virsh managedsave` does, which may wait for ever.

        A thread of virsh makes the call and then ends the main loop; where libvirt refuses at once
        this comes before the loop has begun, and is lost (tools/virsh-domain.c, virshWatchJob).

        Raises:
            libvirt.libvirtError: libvirt refuses.
        """
        connection = libvirt.open(self.uri())
        try:
            connection.lookupByName(name).managedSave()
        finally:
            connection.close()

    def add_xfs_pool(self, name: str) -> Path:
        """Mount a new XFS that shares blocks, for a pool. Only before the host is started."""
        image, target = self.folder / f"{name}.xfs", self.folder / name
        target.mkdir(parents=True)
        with image.open("wb") as file:
            file.truncate(2**30)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=True)
        self._mounts.append(target)
        return target

    def pid(self) -> int:
        """Return the first process of the namespaces; all others end with it."""
        if self._namespaces is None:
            raise RuntimeError("the host is not running")
        return self._namespaces.pid

    def first(self) -> int:
        """Return the parent of the host's daemons."""
        first = self._namespaces and self._namespaces.first()
        if not first:
            raise RuntimeError("the host is not running")
        return first

    def stop(self) -> None:
        """End every process of the host, and unmount what was mounted for it."""
        if self._namespaces is not None:
            self._namespaces.end()
            self._namespaces = None
        self.socket.unlink(missing_ok=True)
        while self._mounts:
            subprocess.run(["umount", "-l", str(self._mounts.pop())], check=True)

    def __enter__(self) -> LabHost:
        """Start."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Stop, whatever happened."""
        self.stop()


@contextlib.contextmanager
def temporary_host(kvm: Optional[bool] = None) -> Iterator[LabHost]:
    """Return a started host in a new folder, which goes with it."""
    folder = short_folder()
    try:
        with LabHost(folder, kvm) as host:
            yield host
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Keep a host running until Ctrl-C, and print its URI."""
    if len(sys.argv) != 3 or sys.argv[1] != "start":
        sys.exit("usage: python -m tests.lab.host start DIR")
    with LabHost(Path(sys.argv[2]).resolve()) as host:
        print(host.uri(), flush=True)  # noqa: T201 - a command's output
        signal.pause()


if __name__ == "__main__":
    main()
