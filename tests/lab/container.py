"""A machine of its own with systemd as its first process, made of this one's programs.

It starts like a new installation, however this machine is configured: it has the programs of its
packages, and only those parts of /etc that they cannot run without. An overlay keeps what it writes
in memory; its processes, network and mounts are its own and end with it. Its systemd is this
distribution's (252 on Debian 12, as on Rocky 9). Needs root. By hand: `python -m tests.lab.container DIR`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, Iterator, List, Optional, Type

from tests.lab.host import DEFAULT_NETWORK
from tests.lab.namespaces import Namespaces, child_of, name_of
from tests.lab.surroundings import PREFIX, SYSTEM_PATH, short_folder

CHECKOUT = Path(__file__).parents[2]  # also where it lies in a folder that is not shown
BOOT_LIMIT = 300.0  # seconds; several machines boot at once, beside guests without KVM
RUN_LIMIT = 300.0  # seconds that one command may take
# What it gets from this machine's /etc: files that programs cannot run without. Nothing that enables
# a service or configures libvirt, systemd, Git or virt-reconciler.
SETTINGS = (
    *("passwd", "group", "shadow", "gshadow", "nsswitch.conf", "login.defs", "shells"),
    *("pam.d", "pam.conf", "security", "authselect", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("alternatives", "os-release", "debian_version", "redhat-release", "rocky-release"),
    *("protocols", "services", "rpc", "netconfig", "ethertypes", "libnl-3"),
    *("ssl", "pki", "crypto-policies", "python3", "rpm", "profile", "bash.bashrc"),
)
# There are no cgroups to delegate, no security driver to ask, and images belong to root.
QEMU_CONF = (
    'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
    "namespaces = []\ncgroup_controllers = []\n"
)
# Its /usr is this machine's; changes go to a tmpfs. Everything else is new. A device node 0:0 in the
# upper layer hides that name of the lower one: everything in / except programs, and /usr/local.
SCRIPT = """
set -e
mount -t tmpfs -o mode=755 none {folder}
cd {folder}
mkdir upper work root upper/usr
for one in $(ls -A /); do
  case $one in bin|sbin|lib|lib32|lib64|libx32|usr) ;; *) mknod upper/$one c 0 0 ;; esac
done
mknod upper/usr/local c 0 0
mount -t overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work none root
cd root
mkdir -p dev etc/libvirt/qemu/networks etc/systemd opt proc run root srv sys var/lib usr/local
mkdir -m 1777 tmp
for one in {settings}; do
  if [ -e /etc/$one ]; then cp -a /etc/$one etc/$one; fi
done
cp {network} etc/libvirt/qemu/networks/default.xml
printf '%s' '{qemu}' >etc/libvirt/qemu.conf
printf 'auth_unix_rw = "none"\\n' >etc/libvirt/libvirtd.conf
printf 'kvm01\\n' >etc/hostname
printf '127.0.0.1 localhost kvm01\\n' >etc/hosts
printf '00000000000000000000000000006b01\\n' >etc/machine-id
cd /
# Here is a folder by the machine's name, which the first one that ends removes.
mkdir -p /run/systemd/nspawn
mount -t tmpfs none /run/systemd/nspawn
for one in {cgroups}; do echo $$ >$one/cgroup.procs; done
# 133 asks to be started again: the machine reboots.
while :; do
  systemd-nspawn -q -D {folder}/root -M kvm01 --boot --register=no --keep-unit {binds} \\
    --private-network --console=read-only && exit || [ $? = 133 ]
done
"""


@dataclass
class Container:
    """One machine below `folder`, which must be an empty folder."""

    folder: Path
    _namespaces: Optional[Namespaces] = field(default=None, repr=False)
    _cgroups: List[Path] = field(default_factory=list, repr=False)

    def start(self) -> Container:
        """Boot, and wait until systemd has started all that it was to start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{PREFIX}{uuid.uuid4().hex}"  # the same in all, as systemd-nspawn expects it
        for parent in find_cgroups():
            self._cgroups.append(parent / name)
            self._cgroups[-1].mkdir()
        script = SCRIPT.format(
            folder=self.folder,
            settings=" ".join(SETTINGS),
            network=DEFAULT_NETWORK,
            qemu=QEMU_CONF,
            binds=" ".join(f"--bind-ro={one}" for one in shown()),
            cgroups=" ".join(map(str, self._cgroups)),
        )
        self._namespaces = Namespaces.start(script, self._log)
        self.wait_booted()
        return self

    def wait_booted(self) -> None:
        """Wait until all that is started at boot is."""
        self.wait(self._is_booted, "the machine boots", BOOT_LIMIT)

    @property
    def _log(self) -> Path:
        return Path(f"{self.folder}.log")

    def _is_booted(self) -> bool:
        if self._namespaces is None or not self._namespaces.alive():
            log = self._log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the container does not run:\n{log[-2000:]}")
        if self._init() is None:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _init(self) -> Optional[int]:
        """Return the machine's systemd as this machine sees it, None while it does not run.

        Before, there is a child of systemd-nspawn that is not yet in all of the namespaces.
        """
        if self._namespaces is None:
            return None
        pid: Optional[int] = self._namespaces.pid
        for _ in ("bash", "systemd-nspawn", "its first process"):
            pid = pid and child_of(pid)
        return pid if pid and name_of(pid) in ("systemd", "init") else None

    def run(
        self, *words: str, check: bool = True, text: Optional[str] = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as its root."""
        done = subprocess.run(
            self.inside(*words),
            check=False, capture_output=True, text=True, input=text, timeout=RUN_LIMIT,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def inside(self, *words: str) -> List[str]:
        """Return the command that runs these words in the machine, with its root's environment."""
        clean = ["env", "-i", f"PATH={SYSTEM_PATH}", "LANG=C.UTF-8", "HOME=/root"]
        return ["nsenter", "-t", str(self._init() or 0), "-a", *clean, *words]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the machine, folders included."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", text=text)

    def read(self, path: str) -> str:
        """Read a file of the machine."""
        return self.run("cat", path).stdout

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Run systemctl and return what it printed."""
        try:
            return self.run("systemctl", *words, check=check).stdout.strip()
        except RuntimeError as error:
            raise RuntimeError(f"{error}{self.journal('-n', '40')}") from error

    def virsh(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run virsh against the machine's own libvirt."""
        return self.run("virsh", "-q", "-c", "qemu:///system", *words, check=check)

    def journal(self, *words: str) -> str:
        """Return journal lines of this boot, up to what was said last."""
        self.run("journalctl", "--sync", check=False)
        return self.run("journalctl", "-q", "--no-pager", "-o", "cat", *words).stdout

    def reboot(self) -> None:
        """Restart the machine: every process ends and all that is enabled starts again."""
        former = self._init()
        self.run("systemctl", "reboot", check=False)
        self.wait(lambda: self._init() not in (None, former), "the machine restarts", BOOT_LIMIT)
        self.wait_booted()

    def wait(self, condition: Callable[[], object], what: str, limit: float = 180.0) -> None:
        """Wait until it holds; the limit is for a machine that is busy."""
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                words = ("journalctl", "-q", "--no-pager", "-o", "cat", "-n", "40")
                told = self.run(*words, check=False).stdout
                raise AssertionError(f"waited {limit:.0f} s in vain until {what}; told:\n{told}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End every process of the machine; its mounts go with them."""
        if self._namespaces is not None:
            self._namespaces.end()
            self._namespaces = None
        while self._cgroups:
            remove_cgroup(self._cgroups.pop())

    def __enter__(self) -> Container:
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
def temporary_container() -> Iterator[Container]:
    """Return a booted machine in a new folder, which goes with it."""
    folder = short_folder()
    try:
        with Container(folder / "machine") as machine:
            yield machine
    finally:
        shutil.rmtree(folder)


def find_cgroups() -> List[Path]:
    """Return the cgroups of this process in which systemd works: the unified one, its own, or both.

    Each machine gets a cgroup of its own below them. In one for all, systemd-nspawn gives each the
    same: then a service that stops in one machine takes the cgroup of its namesake in another.
    """
    own: Dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, name, path = line.split(":", 2)
        own[name] = path
    found = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, options, *_ = line.split()
        name = "" if kind == "cgroup2" else "name=systemd"
        if name in own and (kind == "cgroup2" or name in options.split(",")):
            below = Path(place) / own[name].lstrip("/")
            found.append(below if below.is_dir() else Path(place))
    return list(dict.fromkeys(found))


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and those below it, which have no process any more."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(folder)


def shown() -> List[Path]:
    """Return the folders of this machine that it sees: the checkout and its Python."""
    elsewhere = (CHECKOUT / ".cache", Path(sys.prefix), Path(sys.base_prefix))  # or inside it
    wanted = dict.fromkeys((CHECKOUT, *(one.resolve() for one in elsewhere)))
    return [one for one in wanted if one.is_dir() and one != Path("/usr")]


def main() -> None:
    """Keep a machine running until Ctrl-C, and print how to get into it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.lab.container DIR")
    with Container(Path(sys.argv[1]).resolve()) as machine:
        print(" ".join(machine.inside("bash")), flush=True)  # noqa: T201 - a command's output
        signal.pause()


if __name__ == "__main__":
    main()
